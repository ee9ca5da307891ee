"""The SQL that reads a schema: one query per kind of object, never one per object."""

# ruff: noqa: S608 - everything spliced into these queries is a constant of this module

from __future__ import annotations

from backout.postgres.names import FULL_NOTE, KEPT_SCHEMA, OBJECT_PREFIX, STATE_SCHEMA

# Schemas of users: not the system's, not ours.
_USER_SCHEMA = (
    f"(n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '{STATE_SCHEMA}', '{KEPT_SCHEMA}'))"
)


def _not_of_extension(catalog: str, alias: str) -> str:
    return (
        f"NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = '{catalog}'::regclass"
        f" AND e.objid = {alias}.oid AND e.deptype = 'e')"
    )


def _comment(catalog: str, alias: str) -> str:
    return (
        "coalesce((SELECT d.description FROM pg_description d WHERE d.classoid ="
        f" '{catalog}'::regclass AND d.objoid = {alias}.oid AND d.objsubid = 0), '')"
    )


def _privileges(acl: str, kind: str, owner: str) -> str:
    """The ACL as sorted text; the built-in default written out, so that NULL and its spelled form agree."""
    return (
        f"coalesce((SELECT string_agg(i::text, ' ' ORDER BY i::text) FROM"
        f" unnest(coalesce({acl}, acldefault('{kind}', {owner}))) i), '')"
    )


# A way back of ours has lent this table FULL; that is no part of the application's schema.
_LENT = (
    "EXISTS (SELECT 1 FROM pg_publication p JOIN pg_description d ON d.objoid = p.oid"
    " AND d.classoid = 'pg_publication'::regclass"
    f" WHERE starts_with(d.description, '{FULL_NOTE}') AND c.oid::text ="
    f" ANY(string_to_array(substr(d.description, {len(FULL_NOTE) + 1}), ',')))"
)

RELATIONS = f"""
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
       pg_get_userbyid(c.relowner), {_privileges("c.relacl", "r", "c.relowner")},
       {_comment("pg_class", "c")}, c.relreplident::text, c.relrowsecurity, c.relforcerowsecurity,
       coalesce((SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) o), ''),
       coalesce((SELECT array_agg(i.inhparent::bigint ORDER BY i.inhseqno)
                 FROM pg_inherits i WHERE i.inhrelid = c.oid), '{{}}'),
       c.relispartition, coalesce(pg_get_expr(c.relpartbound, c.oid), ''),
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) ELSE '' END,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) ELSE '' END, {_LENT}
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND {_USER_SCHEMA} AND {_not_of_extension("pg_class", "c")}
ORDER BY n.nspname, c.relname
"""

COLUMNS = f"""
SELECT a.attrelid::bigint, a.attnum::int, a.attname, format_type(a.atttypid, a.atttypmod),
       a.atttypid::bigint, a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
       a.attgenerated::text, a.attidentity::text,
       CASE WHEN a.attcollation <> t.typcollation
            THEN (SELECT quote_ident(cn.nspname) || '.' || quote_ident(l.collname)
                  FROM pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace
                  WHERE l.oid = a.attcollation) ELSE '' END,
       a.atthasmissing,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text ELSE '' END,
       coalesce(array_to_string(a.attacl, ' '), ''), coalesce(m.description, '')
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_description m ON m.classoid = 'pg_class'::regclass AND m.objoid = c.oid
                          AND m.objsubid = a.attnum
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND {_USER_SCHEMA} AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# contype 'n' (18 on): NOT NULL is already a flag of the column, on every version.
CONSTRAINTS = f"""
SELECT k.conrelid::bigint, k.conname, k.contype::text, pg_get_constraintdef(k.oid), k.convalidated,
       {_comment("pg_constraint", "k")}
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND k.contype <> 'n'
ORDER BY k.conrelid, k.conname
"""

INDEXES = f"""
SELECT i.indrelid::bigint, c.oid::bigint, c.relname, pg_get_indexdef(c.oid), i.indisvalid, i.indisready,
       i.indisprimary, i.indisunique, i.indimmediate, i.indpred IS NULL AND i.indexprs IS NULL,
       (SELECT array_agg(x::int ORDER BY o) FROM unnest(i.indkey) WITH ORDINALITY u(x, o)
        WHERE o <= i.indnkeyatts), i.indisreplident, {_comment("pg_class", "c")}
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND c.relkind IN ('i', 'I')
ORDER BY i.indrelid, c.relname
"""

# The rest answer (kind, schema, name, suffix, table schema, table, text, owner, privileges, comment).
FUNCTIONS = f"""
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
       n.nspname, p.proname, '(' || pg_get_function_identity_arguments(p.oid) || ')', NULL, NULL,
       CASE WHEN p.prokind = 'a'
            THEN (SELECT concat_ws(' ', g.aggtransfn::regprocedure, g.aggfinalfn::regprocedure,
                                   g.aggtranstype::regtype, g.aggkind, g.agginitval)
                  FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
            ELSE pg_get_functiondef(p.oid) END,
       pg_get_userbyid(p.proowner), {_privileges("p.proacl", "f", "p.proowner")},
       {_comment("pg_proc", "p")}
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_proc", "p")}
"""

TRIGGERS = f"""
SELECT 'trigger', NULL, t.tgname, '', n.nspname, c.relname,
       pg_get_triggerdef(t.oid) || ' enabled=' || t.tgenabled::text, '', '', {_comment("pg_trigger", "t")}
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND NOT t.tgisinternal
UNION ALL
SELECT 'policy', NULL, p.polname, '', n.nspname, c.relname,
       concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd::text,
                 'to', (SELECT string_agg(CASE WHEN r = 0 THEN 'public' ELSE pg_get_userbyid(r)::text END,
                                          ', ' ORDER BY 1) FROM unnest(p.polroles) r),
                 'using', pg_get_expr(p.polqual, p.polrelid),
                 'check', pg_get_expr(p.polwithcheck, p.polrelid)),
       '', '', {_comment("pg_policy", "p")}
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA}
UNION ALL
SELECT 'rule', NULL, r.rulename, '', n.nspname, c.relname,
       pg_get_ruledef(r.oid) || ' enabled=' || r.ev_enabled::text, '', '', {_comment("pg_rewrite", "r")}
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND r.rulename <> '_RETURN'
UNION ALL
SELECT 'statistics', n.nspname, s.stxname, '', tn.nspname, c.relname,
       pg_get_statisticsobjdef(s.oid), pg_get_userbyid(s.stxowner), '',
       {_comment("pg_statistic_ext", "s")}
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN pg_class c ON c.oid = s.stxrelid JOIN pg_namespace tn ON tn.oid = c.relnamespace
WHERE {_USER_SCHEMA}
"""

# A table's row type and the array of any type follow their owner and are left out.
TYPES = f"""
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite type'
                      WHEN 'r' THEN 'range type' ELSE 'type' END,
       n.nspname, t.typname, '', NULL, NULL,
       CASE t.typtype
         WHEN 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                        FROM pg_enum e WHERE e.enumtypid = t.oid)
         WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod),
                        CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'DEFAULT ' || t.typdefault,
                        (SELECT string_agg(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid),
                                           ' ' ORDER BY k.conname)
                         FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype <> 'n'))
         WHEN 'c' THEN (SELECT string_agg(quote_ident(a.attname) || ' '
                                          || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                        FROM pg_attribute a
                        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
         WHEN 'r' THEN (SELECT r.rngsubtype::regtype::text FROM pg_range r WHERE r.rngtypid = t.oid)
         ELSE '' END,
       pg_get_userbyid(t.typowner), {_privileges("t.typacl", "T", "t.typowner")},
       {_comment("pg_type", "t")}
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_type", "t")}
  AND (t.typtype IN ('e', 'd', 'r')
       OR t.typtype = 'b' AND NOT EXISTS (SELECT 1 FROM pg_type x WHERE x.typarray = t.oid)
       OR t.typtype = 'c' AND EXISTS (SELECT 1 FROM pg_class x WHERE x.oid = t.typrelid AND x.relkind = 'c'))
"""

SEQUENCES = f"""
SELECT 'sequence', n.nspname, c.relname, '', tn.nspname, tc.relname,
       concat_ws(' ', s.seqtypid::regtype, 'start', s.seqstart, 'by', s.seqincrement, 'from', s.seqmin,
                 'to', s.seqmax, 'cache', s.seqcache, CASE WHEN s.seqcycle THEN 'cycle' END,
                 'owned by ' || a.attname, CASE WHEN c.relpersistence = 'u' THEN 'unlogged' END),
       pg_get_userbyid(c.relowner), {_privileges("c.relacl", "s", "c.relowner")},
       {_comment("pg_class", "c")}
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
     AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
LEFT JOIN pg_class tc ON tc.oid = o.refobjid
LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_class", "c")}
"""

# Options of foreign servers may hold passwords (dblink): only their names are read.
OTHERS = f"""
SELECT 'schema', NULL, n.nspname, '', NULL, NULL, '', pg_get_userbyid(n.nspowner),
       {_privileges("n.nspacl", "n", "n.nspowner")}, {_comment("pg_namespace", "n")}
FROM pg_namespace n WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_namespace", "n")}
UNION ALL
SELECT 'extension', NULL, e.extname, '', NULL, NULL, e.extversion || ' in ' || n.nspname, '', '', ''
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
UNION ALL
SELECT 'event trigger', NULL, v.evtname, '', NULL, NULL,
       concat_ws(' ', v.evtevent, v.evttags::text, v.evtfoid::regprocedure, v.evtenabled),
       pg_get_userbyid(v.evtowner), '', {_comment("pg_event_trigger", "v")}
FROM pg_event_trigger v WHERE {_not_of_extension("pg_event_trigger", "v")}
UNION ALL
SELECT 'publication', NULL, p.pubname, '', NULL, NULL,
       concat_ws(' ', CASE WHEN p.puballtables THEN 'all tables' END,
                 CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                 CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END,
                 (SELECT string_agg(r.prrelid::regclass::text, ', ' ORDER BY r.prrelid::regclass::text)
                  FROM pg_publication_rel r WHERE r.prpubid = p.oid)),
       pg_get_userbyid(p.pubowner), '', ''
FROM pg_publication p WHERE p.pubname !~ '^{OBJECT_PREFIX}'
UNION ALL
SELECT 'foreign server', NULL, s.srvname, '', NULL, NULL,
       (SELECT string_agg(split_part(o, '=', 1), ', ' ORDER BY 1) FROM unnest(s.srvoptions) o),
       pg_get_userbyid(s.srvowner), {_privileges("s.srvacl", "S", "s.srvowner")}, ''
FROM pg_foreign_server s WHERE {_not_of_extension("pg_foreign_server", "s")}
UNION ALL
SELECT 'default privileges', NULL, pg_get_userbyid(d.defaclrole)::text || '.' || d.defaclobjtype::text
         || '.' || coalesce((SELECT x.nspname FROM pg_namespace x WHERE x.oid = d.defaclnamespace), ''),
       '', NULL, NULL, '', '',
       coalesce((SELECT string_agg(i::text, ' ' ORDER BY i::text) FROM unnest(d.defaclacl) i), ''), ''
FROM pg_default_acl d
UNION ALL
SELECT 'operator', n.nspname, o.oprname,
       '(' || o.oprleft::regtype::text || ', ' || o.oprright::regtype::text || ')', NULL, NULL,
       o.oprcode::regprocedure::text, pg_get_userbyid(o.oprowner), '', {_comment("pg_operator", "o")}
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_operator", "o")}
UNION ALL
SELECT 'cast', NULL, format_type(k.castsource, NULL) || ' to ' || format_type(k.casttarget, NULL), '',
       NULL, NULL, concat_ws(' ', k.castcontext, k.castmethod, k.castfunc::regprocedure), '', '', ''
FROM pg_cast k WHERE k.oid >= 16384 AND {_not_of_extension("pg_cast", "k")}
UNION ALL
SELECT 'collation', n.nspname, l.collname, '', NULL, NULL,
       concat_ws(' ', l.collprovider, l.collisdeterministic, l.collcollate, l.collctype),
       pg_get_userbyid(l.collowner), '', {_comment("pg_collation", "l")}
FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_collation", "l")}
UNION ALL
SELECT 'text search configuration', n.nspname, f.cfgname, '', NULL, NULL,
       (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary), ', '
                          ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m
        WHERE m.mapcfg = f.oid), pg_get_userbyid(f.cfgowner), '', {_comment("pg_ts_config", "f")}
FROM pg_ts_config f JOIN pg_namespace n ON n.oid = f.cfgnamespace
WHERE {_USER_SCHEMA} AND {_not_of_extension("pg_ts_config", "f")}
"""

DEFINITIONS = (FUNCTIONS, TRIGGERS, TYPES, SEQUENCES, OTHERS)
