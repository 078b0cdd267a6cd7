//! RocksDB's flags that mean nothing here: scripts pass them, so they are named in a warning and otherwise ignored.

/// Switches: `--flag`, `--noflag`, `--flag=1`.
const SWITCHES: &str = "
    adaptive_readahead advise_random_on_open allow_concurrent_memtable_write allow_data_in_errors async_io
    async_wal_precreate auto_prefix_mode auto_readahead_size auto_refresh_iterator_with_snapshot
    avoid_flush_during_recovery avoid_flush_during_shutdown blob_db_enable_gc block_align build_info
    cache_index_and_filter_blocks charge_blob_cache charge_compression_dictionary_building_buffer
    charge_file_metadata charge_filter_construction charge_table_reader compression_use_zstd_dict_trainer
    cost_write_buffer_to_cache decouple_partitioned_filters disable_auto_compactions disable_wal
    dump_malloc_stats enable_blob_direct_write enable_blob_files enable_blob_garbage_collection
    enable_cpu_prio enable_index_compression enable_io_prio enable_numa enable_pipelined_write
    enable_write_thread_adaptive_yield expand_range_tombstones explicit_snapshot
    fifo_compaction_allow_compaction fifo_compaction_use_kv_ratio_compaction file_checksum
    finish_after_writes force_consistency_checks identity_as_first_hash index_with_first_key
    ingest_external_file_fill_cache ingest_external_file_prefetch_lmax_index_and_filter_blocks
    ingest_external_file_use_file_info inplace_update_support io_uring_enabled
    level_compaction_dynamic_level_bytes manual_wal_flush memtable_batch_lookup_optimization
    memtable_use_huge_page memtable_verify_per_key_checksum_on_seek memtable_whole_key_filtering mmap_write
    multiread_batched multiscan_use_async_io open_as_follower open_files_async
    openandcompact_allow_resumption openandcompact_test_cancel_on_odd optimistic_transaction_db
    optimize_filters_for_hits optimize_filters_for_memory optimize_multiget_for_io paranoid_checks
    paranoid_memory_checks partition_index partition_index_and_filters persist_stats_to_disk
    pin_l0_filter_and_index_blocks_in_cache pin_top_level_index_and_filter prefix_same_as_start
    print_malloc_stats rate_limit_auto_wal_flush rate_limit_bg_reads rate_limit_user_ops
    rate_limiter_auto_tuned read_cache_direct_read read_cache_direct_write read_with_latest_user_timestamp
    report_bg_io_stats report_file_operations report_open_timing seek_missing_prefix
    separate_key_value_in_data_block show_table_properties simulate_hdd sine_write_rate
    skip_stats_update_on_db_open strict_max_successive_merges tolerate_io_errors_for_remote_dbs
    total_order_seek track_and_verify_wals track_and_verify_wals_in_manifest transaction_db
    transaction_set_snapshot universal_allow_trivial_move universal_incremental
    universal_reduce_file_locking unordered_write use_adaptive_mutex use_blob_cache use_blob_db
    use_cache_jemalloc_no_dump_allocator use_cache_memkind_kmem_allocator use_compressed_secondary_cache
    use_cuckoo_table use_data_block_hash_index use_direct_io_for_compaction_reads
    use_direct_io_for_flush_and_compaction use_direct_reads use_existing_keys use_fsync use_hash_search
    use_keep_filter use_multiscan use_plain_table use_ribbon_filter use_secondary_db
    use_shared_block_and_blob_cache use_single_deletes use_stderr_info_logger use_tailing_iterator
    use_tiered_cache use_trie_index use_uint64_comparator verify_checksum verify_compression
    verify_manifest_content_on_close whole_key_filtering
";

/// Flags that take a value: `--flag=v` or `--flag v`.
const WITH_VALUE: &str = "
    arena_block_size backup_dir backup_rate_limit bgwriter_num blob_cache_numshardbits blob_cache_size
    blob_compaction_readahead_size blob_compression_type blob_db_file_size blob_db_max_db_size
    blob_db_max_ttl_range blob_db_ttl_range_secs blob_direct_write_partitions blob_file_size
    blob_file_starting_level blob_garbage_collection_age_cutoff blob_garbage_collection_force_threshold
    block_cache_trace_file block_cache_trace_max_trace_file_size_in_bytes
    block_cache_trace_sampling_frequency block_protection_bytes_per_key block_restart_interval
    bloom_locality bytes_per_sync cache_high_pri_pool_ratio cache_low_pri_pool_ratio cache_numshardbits
    cache_type cache_uri checksum_type column_family_distribution compaction_pri compaction_readahead_size
    compaction_style compressed_cache_size compressed_secondary_cache_compression_level
    compressed_secondary_cache_compression_type compressed_secondary_cache_high_pri_pool_ratio
    compressed_secondary_cache_low_pri_pool_ratio compressed_secondary_cache_numshardbits
    compressed_secondary_cache_size compression_level compression_manager compression_max_dict_buffer_bytes
    compression_max_dict_bytes compression_parallel_threads compression_zstd_max_train_bytes
    coro_jobs_per_thread cuckoo_hash_ratio data_block_hash_table_util_ratio db_write_buffer_size
    delayed_write_rate delete_obsolete_files_period_micros disable_seek_compaction
    disposable_entries_batch_size disposable_entries_delete_delay disposable_entries_value_size
    embedded_blob_min_size env_uri experimental_mempurge_threshold expire_style
    fatal_shutdown_watchdog_seconds fault_injection_read_after_reads fifo_age_for_warm
    fifo_compaction_max_data_files_size_mb fifo_compaction_max_table_files_size_mb fifo_compaction_ttl
    file_opening_threads format_version fs_uri hard_pending_compaction_bytes_limit hash_bucket_count
    index_block_restart_interval index_block_search_type index_shortening_mode
    ingest_external_file_batch_size ingest_external_file_file_opening_threads
    ingest_external_file_num_batches initial_auto_readahead_size inplace_update_num_locks
    io_dispatcher_max_prefetch_memory_bytes key_id_range leader_path level0_file_num_compaction_trigger
    level0_slowdown_writes_trigger level0_stop_writes_trigger log_readahead_size max_auto_readahead_size
    max_background_compactions max_background_flushes max_bytes_for_level_base
    max_bytes_for_level_multiplier max_bytes_for_level_multiplier_additional max_compaction_bytes
    max_compaction_trigger_wakeup_seconds max_manifest_file_size max_manifest_space_amp_pct
    max_num_range_tombstones max_scan_distance max_successive_merges max_write_buffer_number
    max_write_buffer_size_to_maintain memtable_bloom_size_ratio memtable_insert_with_hint_prefix_size
    memtable_op_scan_flush_trigger memtable_protection_bytes_per_key memtablerep merge_keys merge_operator
    mergereadpercent metadata_block_size min_blob_size min_level_to_compress
    min_tombstones_for_range_conversion min_write_buffer_number_to_merge mix_accesses multiread_stride
    multiscan_coalesce_threshold multiscan_max_prefetch_size multiscan_size multiscan_stride
    num_bottom_pri_threads num_deletion_threads num_file_reads_for_auto_readahead num_high_pri_threads
    num_hot_column_families num_levels num_low_pri_threads num_multi_db num_short_wide_columns
    num_wide_columns numdistinct open_files openandcompact_cancel_after_millseconds
    ops_between_duration_checks options_file overwrite_probability overwrite_window_size perf_level
    periodic_compaction_seconds persistent_entries_batch_size persistent_entries_value_size
    preclude_last_level_data_seconds prepopulate_blob_cache prepopulate_block_cache
    preserve_internal_time_seconds range_tombstone_width rate_limiter_bytes_per_sec
    rate_limiter_refill_period_us rate_limiter_single_burst_bytes read_amp_bytes_per_bit read_cache_path
    read_cache_size read_triggered_compaction_threshold readahead_size restore_dir restore_rate_limit
    row_cache_size same_value_percentage sample_for_compression secondary_cache_uri secondary_path
    secondary_update_interval seek_nexts_to_delete simcache_size simulate_hybrid_fs_file
    simulate_hybrid_hdd_multipliers sine_write_rate_interval_milliseconds skip_list_lookahead slow_usecs
    soft_pending_compaction_bytes_limit statistics_string stats_dump_period_sec stats_history_buffer_size
    stats_level stats_persist_period_sec stddev subcompactions super_block_alignment_size
    super_block_alignment_space_overhead_ratio table_cache_numshardbits target_file_size_multiplier
    thread_status_per_interval tiered_adm_policy time_range trace_file trace_replay_fast_forward
    trace_replay_threads transaction_lock_timeout transaction_sets transaction_sleep truth_db ttl_seconds
    uncache_aggressiveness uniform_cv_threshold universal_compression_size_percent universal_max_merge_width
    universal_max_read_amp universal_max_size_amplification_percent universal_min_merge_width
    universal_size_ratio universal_stop_style user_timestamp_size wal_bytes_per_sync wal_compression wal_dir
    wal_size_limit_MB wal_ttl_seconds writable_file_max_buffer_size write_batch_protection_bytes_per_key
    write_thread_max_yield_usec write_thread_slow_yield_usec writes_before_delete_range
    writes_per_range_tombstone
";

/// Whether a flag is one of these: `Some(true)` when a value follows it.
pub(crate) fn takes_value(name: &str) -> Option<bool> {
    let has = |list: &str, name: &str| list.split_whitespace().any(|known| known == name);
    if has(WITH_VALUE, name) {
        return Some(true);
    }
    (has(SWITCHES, name) || name.strip_prefix("no").is_some_and(|name| has(SWITCHES, name))).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn nothing_is_both_ignored_and_obeyed_or_listed_twice() {
        let mut names: Vec<&str> = SWITCHES
            .split_whitespace()
            .chain(WITH_VALUE.split_whitespace())
            .collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for name in names {
            assert!(table::find(name).is_none(), "{name}");
        }
    }
}
