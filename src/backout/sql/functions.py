"""Functions of PostgreSQL that change nothing: the data table behind "this SELECT is a read".

Everything that is not listed may write. Migration tools ask many of these before a down (is the history
table there, who holds the advisory lock), and a read must not make anybody take locks or keep copies.

What text cannot show, and what therefore no list can promise: a view that calls a writing function, an
operator or cast of the user's own, an overload of one of these names for a type of the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FunctionGroup:
    """Some functions of `pg_catalog`, and why calling them is a read."""

    reason: str
    names: frozenset[str]


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _group(reason: str, names: str) -> FunctionGroup:
    return FunctionGroup(reason, _names(names))


READ_ONLY: tuple[FunctionGroup, ...] = (
    _group(
        "aggregates and window functions only look at rows",
        """array_agg avg bit_and bit_or bool_and bool_or corr count every json_agg json_object_agg jsonb_agg
        jsonb_object_agg max min mode percentile_cont percentile_disc range_agg stddev stddev_pop stddev_samp
        string_agg sum var_pop var_samp variance xmlagg row_number rank dense_rank percent_rank cume_dist
        ntile lag lead first_value last_value nth_value regr_slope regr_intercept regr_r2""",
    ),
    _group(
        "text in, text out; immutable or stable in the catalog",
        """ascii bit_length btrim char_length character_length chr concat concat_ws convert convert_from
        convert_to decode encode format initcap left length lower lpad ltrim md5 normalize octet_length
        overlay parse_ident position quote_ident quote_literal quote_nullable regexp_count regexp_instr
        regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
        regexp_substr repeat replace reverse right rpad rtrim sha224 sha256 sha384 sha512 split_part
        starts_with string_to_array string_to_table strpos substr substring to_ascii to_hex translate
        upper like_escape similar_to_escape textlen""",
    ),
    _group(
        "numbers and conversions; immutable or stable in the catalog",
        """abs cbrt ceil ceiling degrees div exp factorial floor gcd lcm ln log log10
        mod numeric_inc pi power radians round scale sign sqrt trim_scale trunc width_bucket acos asin atan
        atan2 cos cot sin tan to_char to_date to_number to_timestamp int4 int8 float8 text varchar bool
        num_nonnulls num_nulls bit_count get_bit get_byte set_bit set_byte""",
    ),
    _group(
        "date and time; none of them keeps anything",
        """age clock_timestamp date_bin date_part date_trunc extract isfinite justify_days justify_hours
        justify_interval make_date make_interval make_time make_timestamp
        make_timestamptz now statement_timestamp timeofday timezone transaction_timestamp""",
    ),
    _group(
        "random values and identifiers; volatile, but nothing is written",
        "gen_random_uuid random uuidv4 uuidv7",
    ),
    _group(
        "arrays, ranges, rows and sets made from arguments",
        """array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
        array_positions array_prepend array_remove array_replace array_to_json array_to_string array_upper
        cardinality generate_series generate_subscripts int4range int8range isempty lower_inc lower_inf
        numrange daterange tsrange tstzrange range_merge trim_array unnest upper_inc upper_inf""",
    ),
    _group(
        "JSON made, read and changed as values",
        """json_array_elements json_array_elements_text json_array_length json_build_array json_build_object
        json_each json_each_text json_extract_path json_extract_path_text json_object json_object_keys
        json_populate_record json_populate_recordset json_strip_nulls json_to_record json_to_recordset
        json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
        jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
        jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
        jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset
        jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
        jsonb_typeof row_to_json to_json to_jsonb""",
    ),
    _group(
        "text search over arguments (ts_stat and ts_rewrite run SQL of their own and are not here)",
        """phraseto_tsquery plainto_tsquery setweight strip to_tsquery to_tsvector ts_headline ts_rank
        ts_rank_cd tsvector_to_array websearch_to_tsquery""",
    ),
    _group(
        "who and where this session is",
        """current_database current_query current_schema current_schemas current_setting current_user
        getpgusername inet_client_addr inet_client_port inet_server_addr inet_server_port pg_backend_pid
        pg_conf_load_time pg_is_in_recovery pg_my_temp_schema pg_is_other_temp_schema
        pg_postmaster_start_time session_user version pg_client_encoding pg_trigger_depth
        pg_jit_available""",
    ),
    _group(
        "the catalog as text and names; reads system tables only",
        """col_description format_type obj_description pg_char_to_encoding pg_collation_for
        pg_collation_is_visible pg_describe_object pg_encoding_to_char pg_function_is_visible
        pg_get_constraintdef pg_get_expr pg_get_function_arguments pg_get_function_identity_arguments
        pg_get_function_result pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_object_address
        pg_get_partition_constraintdef pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence
        pg_get_statisticsobjdef pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_identify_object
        pg_index_column_has_property pg_index_has_property pg_indexam_has_property pg_operator_is_visible
        pg_opclass_is_visible pg_options_to_table pg_partition_ancestors pg_partition_root pg_partition_tree
        pg_relation_filenode pg_relation_is_updatable pg_column_is_updatable pg_table_is_visible
        pg_tablespace_location pg_type_is_visible pg_typeof shobj_description to_regclass to_regcollation
        to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
        pg_sequence_parameters pg_sequence_last_value regclass aclexplode acldefault
        pg_get_publication_tables""",
    ),
    _group(
        "privileges, asked for",
        """has_any_column_privilege has_column_privilege has_database_privilege
        has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
        has_parameter_privilege has_schema_privilege has_sequence_privilege has_server_privilege
        has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role row_security_active""",
    ),
    _group(
        "sizes, counters and positions of the server",
        """pg_column_size pg_database_size pg_indexes_size pg_relation_size pg_size_bytes pg_size_pretty
        pg_table_size pg_tablespace_size pg_total_relation_size pg_stat_get_activity pg_stat_get_numscans
        pg_lock_status pg_blocking_pids pg_current_wal_lsn pg_current_wal_insert_lsn
        pg_current_wal_flush_lsn pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_wal_lsn_diff
        pg_last_xact_replay_timestamp pg_walfile_name""",
    ),
    _group(
        "transactions: at most a transaction id is taken, no row is written",
        """pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned pg_snapshot_xip
        pg_snapshot_xmax pg_snapshot_xmin pg_visible_in_snapshot pg_xact_commit_timestamp pg_xact_status
        txid_current txid_current_if_assigned txid_current_snapshot txid_status txid_snapshot_xmax
        txid_snapshot_xmin mxid_age""",
    ),
    _group(
        "sequences, looked at (nextval and setval change them and are not here)",
        "currval lastval",
    ),
    _group(
        "advisory locks: how tools keep one another out; released with the session, nothing is stored",
        """pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
        pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock
        pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared""",
    ),
    _group(
        "settings, waiting and notices: they end with the session and touch no table",
        "set_config pg_sleep pg_sleep_for pg_sleep_until pg_notify setseed",
    ),
)

VOLATILE_BUT_READ = _names(
    """clock_timestamp timeofday gen_random_uuid random uuidv4 uuidv7 current_query currval lastval
    pg_is_in_recovery pg_jit_available pg_partition_ancestors pg_partition_tree pg_sequence_last_value
    pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size
    pg_total_relation_size pg_lock_status pg_blocking_pids pg_current_wal_lsn pg_current_wal_insert_lsn
    pg_current_wal_flush_lsn pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
    pg_xact_commit_timestamp pg_xact_status txid_status pg_advisory_lock pg_advisory_lock_shared
    pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock
    pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared set_config pg_sleep pg_sleep_for
    pg_sleep_until pg_notify setseed"""
)
"""Those of the table that PostgreSQL itself marks as volatile; each was looked at by a person."""

_READ_NAMES = frozenset[str]().union(*(group.names for group in READ_ONLY))
_INFORMATION_SCHEMA = frozenset({"_pg_expandarray", "_pg_truetypid", "_pg_truetypmod", "_pg_char_max_length"})

FILLS_DEFAULTS = frozenset(
    {"nextval", "uuid_generate_v4", "uuid_generate_v1", "uuid_generate_v1mc", "gen_salt"}
)
"""Functions that defaults call and that change no row: a sequence moves on, an identifier is made."""

REACHES_OUT = _names(
    """lo_import lo_export pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file pg_file_write
    pg_file_unlink pg_file_rename pg_execute_server_program dblink dblink_connect dblink_connect_u
    dblink_exec dblink_open dblink_send_query postgres_fdw_get_connections http http_get http_post
    http_put http_delete"""
)
"""Functions that read or write files of the server, or open connections to elsewhere."""


def is_read(*name: str) -> bool:
    """Whether calling this function, named by its raw parts (`pg_catalog`, `now`), changes nothing."""
    *schema, last = name
    if not schema:
        return last in _READ_NAMES
    if schema == ["information_schema"]:
        return last in _INFORMATION_SCHEMA
    return schema == ["pg_catalog"] and last in _READ_NAMES
