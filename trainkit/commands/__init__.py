"""The commands of `trainkit`, a module each: parse, call one function, print."""
