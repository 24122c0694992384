"""The faults that evalkit and trainkit are built to survive, by number, and proofs of them in other folders of tests.

A test beside this file names its fault by `@pytest.mark.fault(6)`. A test holds that what is named here is there.
"""

from __future__ import annotations

from collections.abc import Iterable

TITLES = {
    1: "SIGKILL in the middle of a line, a manifest, the end",
    2: "SIGKILL while a run is resumed, twice",
    3: "SIGINT once and twice",
    4: "SIGTERM",
    5: "stdout is closed",
    6: "the disk is full while answers are kept",
    7: "the disk is full while a report is written",
    8: "the folder cannot be written, is a file, has no parent",
    9: "two processes on one run",
    10: "two runs in the same second",
    11: "a corrupt line, a flipped bit",
    12: "a newer schema; old runs still load",
    13: "something changed between start and resume",
    14: "the clock jumps",
    15: "another locale, time zone, hash seed",
    16: "out of memory",
    17: "malformed JSON lines",
    18: "the same id twice",
    19: "no data, only blank lines, nothing left",
    20: "missing, null and wrong-typed fields",
    21: "byte order mark, UTF-16, CRLF, no last newline",
    22: "NUL, lone surrogates, U+2028, floods of marks",
    23: "NaN, Infinity, 5,000 digits, deep nesting, a key twice",
    24: "10 MB in one question; a million rows",
    25: "gzip or zip given as JSON lines",
    26: "unknown keys and names, bad patterns, wrong decimals",
    27: "a model folder that is not whole",
    28: "logits that are no numbers",
    29: "an answer of nothing, or of special tokens alone",
    30: "an answer that never stops",
    31: "a prompt longer than the context",
    32: "an adapter for another base",
    33: "the model folder changes during the run",
    34: "429 with and without Retry-After",
    35: "5xx once and always; 4xx",
    36: "an endpoint that is away, silent, slow, broken or lying",
    37: "200 without an answer",
    38: "the endpoint restarts",
    39: "keys in files and output",
    40: "a judge that keeps no format",
    41: "answers that instruct the judge",
    42: "a model that judges itself",
    43: "a report of 100,000 rows; hostile names",
    44: "a gate without a sound comparison",
    45: "a training that is killed, runs full, or learns nothing",
}

AWAY: dict[int, str] = {}
"""Faults without a test in this job, and why."""


def _named(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::test_{name}" for name in names)


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for part in parts for name in part)


ELSEWHERE: dict[int, tuple[str, ...]] = {
    1: _joined([
        _named("unit/test_journal", "a_tail_torn_at_any_byte_loses_only_that_line_1",
               "a_torn_tail_is_cut_off_and_the_journal_goes_on_1", "zeros_after_a_power_cut_are_a_torn_tail",
               "any_texts_in_any_batches_survive_any_cut"),
        _named("unit/test_record", "what_a_process_killed_in_mid_write_left_is_swept_up_1",
               "a_torn_tail_is_cut_off_and_reported_1"),
        _named("unit/test_flow", "a_run_stopped_anywhere_and_resumed_has_the_same_bytes_1_3",
               "a_run_killed_while_its_rows_are_written_is_resumed_1"),
    ]),
    2: _named("unit/test_flow", "a_run_stopped_twice_and_torn_has_the_same_bytes_2"),
    3: _named("unit/test_cli", "a_signal_stops_the_run_with_the_command_that_resumes_it_3_4"),
    4: _named("unit/test_cli", "a_signal_stops_the_run_with_the_command_that_resumes_it_3_4"),
    5: _named("unit/test_cli", "a_reader_that_has_gone_away_is_no_matter_5", "a_closed_stdout_is_no_matter_5"),
    6: _joined([
        _named("unit/test_cli", "a_full_disk_under_stdout_is_one_line_6"),
        _named("unit/test_journal", "short_writes_are_completed_6",
               "a_full_disk_cuts_back_to_the_last_batch_and_can_go_on_6", "a_failed_sync_is_not_committed_6",
               "a_file_size_limit_stops_the_run_6"),
    ]),
    7: _joined([
        _named("unit/test_jsonl", "write_atomic_keeps_the_old_file_when_the_disk_is_full_7",
               "write_atomic_leaves_nothing_behind_when_a_chunk_fails"),
        _named("unit/test_record", "a_full_disk_at_the_end_stops_the_run_and_keeps_the_old_rows_7"),
    ]),
    8: _named("unit/test_record", "a_folder_that_is_not_empty_is_refused_and_left_alone_8",
              "an_empty_folder_is_used_and_missing_parents_are_made_8", "a_file_is_no_place_for_a_run_8",
              "a_read_only_folder_is_one_line_8", "a_folder_that_refuses_writing_is_one_line_8"),
    9: _joined([
        _named("unit/test_record", "the_second_process_on_a_run_gets_75_and_the_first_ones_pid_9",
               "two_processes_cannot_make_the_same_run_9"),
        _named("unit/test_flow", "a_run_is_locked_while_it_is_asked_9"),
    ]),
    10: _named("unit/test_record", "two_runs_of_one_second_have_names_of_their_own_10"),
    11: _joined([
        _named("unit/test_journal", "a_flipped_bit_in_a_middle_line_is_refused_with_the_line_11",
               "the_lines_before_a_corrupt_one_can_be_had"),
        _named("unit/test_record", "a_flipped_bit_in_any_byte_of_the_manifest_is_refused_11",
               "a_manifest_of_another_form_is_refused_11", "a_manifest_without_what_every_run_has_is_refused_11",
               "a_damaged_row_is_refused_with_its_line_11", "a_damaged_summary_is_refused_11",
               "a_changed_row_that_still_reads_is_refused_by_the_digest_11",
               "salvage_makes_a_new_run_of_the_good_lines_and_leaves_the_old_one_11"),
        _named("unit/test_flow", "keep_prefix_goes_on_from_the_good_lines_in_a_new_run_11"),
    ]),
    12: _joined([
        _named("unit/test_journal", "a_newer_version_is_refused_by_name_12"),
        _named("unit/test_record", "a_newer_schema_is_refused_by_name_12"),
    ]),
    13: _joined([
        _named("unit/test_record", "equal_identities_pass_and_every_difference_is_named_13"),
        _named("unit/test_flow", "what_changed_between_start_and_resume_is_named", "a_changed_package_is_named_13"),
        _named("integration/test_trainkit_sft", "resume_refuses_what_has_changed_by_field"),
    ]),
    15: _named("unit/test_cli", "the_bytes_are_the_same_in_every_locale_15"),
    17: _joined([
        _named("unit/test_jsonl", "a_bad_line_is_named_with_line_and_column", "at_most_twenty_faults_are_listed_17"),
        _named("unit/test_examples", "twenty_faults_are_listed_and_the_rest_counted_17"),
        _named("unit/test_score", "up_to_twenty_faults_are_listed_17"),
    ]),
    18: _joined([
        _named("unit/test_examples", "the_same_id_twice_names_both_lines_18",
               "the_same_record_twice_without_id_names_both_lines_18"),
        _named("unit/test_score", "the_same_id_twice_names_both_lines_18"),
        _named("unit/test_trainkit_rows",
               "an_id_that_stands_twice_names_both_lines_and_equal_rows_without_id_are_kept"),
    ]),
    19: _joined([
        _named("unit/test_suite", "examples_that_cannot_be_used_stop_the_suite"),
        _named("unit/test_score", "a_file_without_answers_is_refused"),
        _named("unit/test_analyze", "an_empty_run_and_a_run_of_errors_are_analysed_without_nan_19"),
    ]),
    20: _joined([
        _named("unit/test_examples", "a_wrong_field_is_named"),
        _named("unit/test_score", "a_wrong_field_is_named_with_its_line"),
        _named("unit/test_trainkit_rows", "a_broken_row_is_named_by_line_and_key"),
    ]),
    21: _joined([
        _named("unit/test_jsonl", "what_is_read", "another_format_is_refused_by_name"),
        _named("unit/test_suite", "toml_in_another_encoding_is_refused_and_a_bom_accepted_21"),
        _named("unit/test_trainkit_rows", "a_byte_order_mark_crlf_and_unicode_line_ends_do_no_harm"),
    ]),
    22: _joined([
        _named("unit/test_jsonl", "what_is_read", "a_bad_line_is_named_with_line_and_column",
               "scrubbed_text_fits_into_utf8_and_is_left_as_it_is"),
        _named("unit/test_visible", "a_flood_of_marks_is_cut_to_four"),
        _named("unit/test_endpoint", "lone_surrogates_become_the_replacement_character"),
    ]),
    23: _named("unit/test_jsonl", "a_bad_line_is_named_with_line_and_column", "depth_100_is_read"),
    24: _joined([
        _named("unit/test_jsonl", "ten_megabytes_in_one_line_are_read_24"),
        _named("unit/test_assess", "a_question_and_a_reference_of_ten_megabytes_take_less_than_two_seconds_24"),
    ]),
    25: _named("unit/test_jsonl", "another_format_is_refused_by_name", "a_zip_archive_is_refused_by_name_25"),
    26: _joined([
        _named("unit/test_suite", "a_wrong_setting_is_named", "a_wrong_override_is_named",
               "a_setting_of_a_scorer_is_checked_when_it_is_built_26"),
        _named("unit/test_policy", "what_cannot_be_meant_is_refused"),
        _named("unit/test_taggers_format", "a_broken_pattern_is_refused_with_its_fault"),
    ]),
    27: _joined([
        _named("unit/test_models", "a_missing_config_is_named_27", "an_unreadable_config_is_named_27",
               "a_missing_tokenizer_is_named_27", "a_folder_without_weights_is_named_27",
               "pickled_weights_are_refused_and_never_read_27", "a_missing_shard_is_named_27",
               "an_index_without_a_map_is_named_27", "weights_cut_at_any_byte_are_refused_27",
               "the_sizes_are_named_when_weights_are_truncated_27", "a_header_of_another_form_is_refused_27",
               "a_header_that_claims_a_huge_length_is_not_read_27"),
        _named("integration/test_hf", "a_suite_that_asks_by_chat_needs_a_template"),
    ]),
    28: _joined([
        _named("integration/test_decode", "nan_logits_end_their_row_only"),
        _named("integration/test_tree", "nan_stays_with_the_pairs_whose_own_path_gives_it"),
    ]),
    29: _joined([
        _named("unit/test_assess", "an_empty_answer_is_valid_and_tagged_29"),
        _named("unit/test_flow", "an_empty_or_cut_answer_is_an_answer"),
    ]),
    30: _joined([
        _named("unit/test_assess", "an_answer_of_ten_megabytes_takes_less_than_two_seconds_30"),
        _named("unit/test_taggers_all", "ten_million_characters_take_all_taggers_less_than_two_seconds"),
        _named("unit/test_visible", "ten_megabytes_are_shown_in_time_30"),
        _named("integration/test_decode", "the_budget_ends_an_answer_with_length"),
    ]),
    31: _joined([
        _named("integration/test_hf", "a_prompt_longer_than_the_context_is_an_error_row"),
        _named("integration/test_decode",
               "a_prompt_longer_than_the_context_is_an_error_and_an_answer_stops_at_the_limit"),
        _named("integration/test_encode", "a_context_is_cut_from_the_left_and_the_cut_is_counted"),
        _named("unit/test_endpoint", "a_prompt_that_is_too_long_is_its_own_error_35"),
    ]),
    32: _joined([
        _named("unit/test_models", "an_adapter_whose_base_is_missing_is_named_32",
               "an_adapter_without_a_base_or_weights_is_named_32"),
        _named("integration/test_hf", "an_adapter_for_another_base_is_refused"),
        _named("integration/test_trainkit_sft", "an_adapter_for_another_base_is_not_merged"),
    ]),
    34: _joined([
        _named("unit/test_endpoint", "retry_after_is_seconds_or_a_date_34",
               "a_wait_is_as_asked_or_doubles_and_is_never_absurd_34", "what_may_pass_is_tried_again_34_35"),
        _named("unit/test_openai", "a_storm_of_429_loses_nothing_34", "an_absurd_retry_after_is_cut_34"),
    ]),
    35: _joined([
        _named("unit/test_endpoint", "what_may_pass_is_tried_again_34_35",
               "what_cannot_pass_is_refused_with_one_message_35", "a_prompt_that_is_too_long_is_its_own_error_35"),
        _named("unit/test_openai", "a_server_error_passes_or_becomes_an_error_row_35",
               "a_refusal_is_said_once_and_stops_at_once_35",
               "a_refusal_after_answers_keeps_them_and_can_be_resumed_35"),
    ]),
    36: _joined([
        _named("unit/test_endpoint", "a_missing_finish_reason_is_length_where_all_tokens_were_used_36"),
        _named("unit/test_openai", "a_chunk_may_split_a_character_36",
               "one_request_that_always_fails_does_not_stop_the_others_36", "nobody_listening_stops_the_run_36",
               "an_unknown_host_stops_the_run_36", "tls_to_a_plain_port_stops_the_run_36",
               "what_takes_too_long_is_given_up_36", "what_ends_early_is_no_answer_36",
               "a_length_that_says_too_little_is_an_error_row_36", "a_body_that_is_too_large_is_not_read_36",
               "a_gzip_bomb_is_not_unpacked_36"),
    ]),
    37: _joined([
        _named("unit/test_endpoint", "tokens_are_unknown_without_a_sensible_usage_37",
               "a_success_without_an_answer_is_an_error_row_37"),
        _named("unit/test_openai", "another_name_of_the_model_is_a_remark_of_the_run_37"),
    ]),
    38: _named("unit/test_openai", "a_server_that_goes_away_stops_the_run_which_resumes_to_the_same_bytes_38",
               "a_server_that_restarts_soon_costs_nothing_38"),
    39: _joined([
        _named("unit/test_endpoint", "a_key_goes_only_where_it_is_meant_to_39", "a_key_may_stand_in_a_file_39",
               "what_is_no_key_is_refused_without_being_shown_39",
               "a_secret_shows_as_stars_whoever_prints_it_39"),
        _named("unit/test_openai", "redirects_are_not_followed_39", "the_key_is_in_no_file_and_no_output_39"),
    ]),
    40: _named("unit/test_court", "a_judge_that_fails_stops_a_pipeline_as_failed_requests_do")
    + _named("unit/test_judge", "any_other_reply_is_asked_for_again_and_then_unparsed",
               "a_good_reply_at_the_second_try_counts", "a_case_that_does_not_fit_the_judge_is_no_verdict"),
    41: _joined([
        _named("unit/test_judge", "an_attack_never_gets_a_score_out_of_a_judge_that_echoes",
               "an_attack_stands_between_marks_that_it_does_not_hold", "there_are_thirty_attacks",
               "no_answer_can_end_its_turn"),
        _named("integration/test_hf", "no_answer_ends_its_turn_in_a_judges_tokens"),
    ]),
    42: _named("unit/test_court", "a_judge_that_is_the_model_under_test_is_told", "another_model_is_no_warning"),
    43: _joined([
        _named("integration/test_page", "ten_thousand_items_open_and_filter_at_once",
               "no_attack_runs_asks_or_breaks_the_page"),
        _named("golden/test_reports", "no_attack_survives_in_a_report"),
    ]),
    44: _named("unit/test_gate_cli", "a_missing_baseline_is_refused", "a_missing_candidate_is_refused",
               "another_suite_is_not_comparable", "runs_without_a_common_example_are_not_comparable",
               "runs_that_were_asked_or_judged_differently_are_not_comparable",
               "runs_without_a_single_answer_are_an_error", "a_candidate_whose_every_request_failed_is_an_error",
               "one_item_decides_nothing", "equal_scores_pass_only_where_there_are_enough_of_them"),
    45: _joined([
        _named("integration/test_trainkit_sft", "a_killed_training_resumes_to_the_same_bits",
               "a_loss_that_is_no_number_stops_and_keeps_the_last_good_step",
               "a_gradient_that_is_no_number_stops_too", "a_full_disk_keeps_the_last_good_step_and_resumes",
               "bad_input_is_one_line_and_exit_code_2"),
    ]),
}  # fmt: skip
