#include "snowmelt/load/table_swap.h"

#include <fmt/format.h>

#include "snowmelt/error.h"
#include "snowmelt/load/lock_wait.h"
#include "snowmelt/load/name_suffix.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

// What pg_dump would write for a table and CREATE TABLE … (LIKE … INCLUDING ALL), our index definitions and grants do not
// carry over. (attoptions is asked by content: since 15.20 the server keeps a version number of its own there.) Any of it, and
// the table is emptied instead. Checked against PostgreSQL 15's pg_class, pg_attribute and pg_depend.
constexpr const char* kIsPlain = R"(
select c.relkind = 'r' and c.relpersistence = 'p' and not c.relispartition and c.reloftype = 0 and c.reltablespace = 0
   and not c.relrowsecurity and not c.relforcerowsecurity and c.relreplident = 'd' and c.reloptions is null
   and (c.reltoastrelid = 0 or (select t.reloptions is null from pg_class t where t.oid = c.reltoastrelid))
   and c.relam = (select m.oid from pg_am m where m.amname = current_setting('default_table_access_method'))
   and (c.relowner = (select r.oid from pg_roles r where r.rolname = current_user)
        or (select r.rolsuper from pg_roles r where r.rolname = current_user))
   and has_schema_privilege(c.relnamespace, 'create')
   and not exists (select from pg_inherits i where c.oid in (i.inhrelid, i.inhparent))
   and not exists (select from pg_trigger t where t.tgrelid = c.oid)
   and not exists (select from pg_rewrite w where w.ev_class = c.oid)
   and not exists (select from pg_policy p where p.polrelid = c.oid)
   and not exists (select from pg_constraint k where (k.conrelid = c.oid or k.confrelid = c.oid) and k.contype not in ('c', 'p', 'u', 'x', 'n'))
   and not exists (select from pg_publication_rel p where p.prrelid = c.oid)
   and not exists (select from pg_statistic_ext s where s.stxrelid = c.oid)
   and not exists (select from pg_seclabel s where s.classoid = 'pg_class'::regclass and s.objoid = c.oid)
   and not exists (select from pg_default_acl d where d.defaclobjtype = 'r')
   and not exists (select from aclexplode(c.relacl) a where a.grantor <> c.relowner)
   and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                     and (a.attacl is not null or a.attoptions::text like '%n_distinct%' or a.attidentity <> '' or coalesce(a.attstattarget, -1) >= 0))
   and not exists (select from pg_index x join pg_class i on i.oid = x.indexrelid
                   where x.indrelid = c.oid and (not x.indisvalid or x.indisclustered or x.indisreplident or i.reltablespace <> 0
                     or (i.reloptions is not null and exists (select from pg_constraint k where k.conindid = i.oid))
                     or exists (select from pg_attribute a where a.attrelid = i.oid and coalesce(a.attstattarget, -1) >= 0)))
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
   and not exists (select from pg_depend d
                   where d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
                     and ((d.deptype = 'n' and not (d.classid = 'pg_constraint'::regclass
                                                    and d.objid in (select k.oid from pg_constraint k where k.conrelid = c.oid)))
                          or (d.classid = 'pg_class'::regclass
                              and (select s.relkind from pg_class s where s.oid = d.objid) = 'S')))
   and not exists (select from pg_depend d
                   where d.refclassid = 'pg_type'::regclass and d.refobjid = c.reltype and d.deptype = 'n')
from pg_class c where c.oid = $1)";

// NULLIF, IS DISTINCT FROM, CASE and comparisons of rows are written without their operator, which would be looked for anew: by
// the user's search_path, where it may be somebody else's. pg_get_indexdef() writes its beginning in one way only: what follows
// is the index's method, columns and predicate.
constexpr const char* kIndexes = R"(
select coalesce(k.oid, i.oid), i.relname, x.indisunique, k.oid is not null, p.prefix,
       (k.oid is not null or starts_with(pg_get_indexdef(i.oid), p.prefix))
       and not coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(i.oid)) ~* '\m(nullif|distinct|case|row|similar|overlaps)\M',
       coalesce(obj_description(k.oid, 'pg_constraint'), obj_description(i.oid, 'pg_class'), '')
from pg_index x join pg_class i on i.oid = x.indexrelid
     left join pg_constraint k on k.conindid = i.oid and k.conrelid = x.indrelid and k.contype in ('p', 'u', 'x')
     cross join lateral (select format('CREATE %sINDEX %I ON %I.%I USING ', case when x.indisunique then 'UNIQUE ' end, i.relname, $2::text, $3::text) as prefix) p
where x.indrelid = $1 order by i.oid)";

constexpr const char* kGrants = R"(
select format('grant %s on %%s to %s%s', a.privilege_type,
                         case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                         case when a.is_grantable then ' with grant option' else '' end)
from pg_class c, aclexplode(c.relacl) a where c.oid = $1)";

bool is_plain(LoadSession& session, const std::string& oid) {
  const auto plain = session.ours(kIsPlain, {oid});
  return !plain.rows.empty() && plain.rows[0][0].value_or("f") == "t";
}

}  // namespace

TableSwap::TableSwap(LoadSession& session, TargetName target)
    : session_(session),
      target_(std::move(target)),
      suffix_(random_suffix()),
      staging_name_(with_suffix(target_.table, suffix_)),
      staging_(quote_qualified(target_.schema, staging_name_)) {}

std::unique_ptr<TableSwap> TableSwap::plan(LoadSession& session, const TargetName& target) {
  if (!is_plain(session, target.oid)) return nullptr;
  return std::unique_ptr<TableSwap>(new TableSwap(session, target));
}

bool TableSwap::read_indexes() {
  for (const Row& row : session_.ours(kIndexes, {target_.oid, target_.schema, target_.table}).rows) {
    if (*row[5] != "t") return false;
    indexes_.push_back({.oid = *row[0],
                        .name = *row[1],
                        .temporary_name = with_suffix(target_.table, fmt::format("{}_{}", suffix_, indexes_.size())),
                        .prefix = *row[4],
                        .unique = *row[2] == "t",
                        .constraint = *row[3] == "t",
                        .comment = *row[6]});
  }
  return true;
}

// Whatever of the indexes another session can change while the table is locked against writers only.
std::string TableSwap::index_signature() {
  return only_value(
      session_.ours("select coalesce(string_agg(concat_ws(';', i.oid, pg_get_indexdef(i.oid), k.oid, k.conname, "
                    "obj_description(i.oid, 'pg_class'), "
                    "obj_description(k.oid, 'pg_constraint')), '|' order by i.oid), '') from pg_index x join pg_class i on i.oid "
                    "= x.indexrelid left "
                    "join pg_constraint k on k.conindid = i.oid and k.conrelid = x.indrelid where x.indrelid = $1::oid",
                    {target_.oid}));
}

std::string TableSwap::staging_ddl() const {
  return fmt::format("create table {} (like {} including all excluding indexes)", staging_, target_.qualified);
}

// A definition is written and read under one search_path, the user's: PostgreSQL then qualifies every name that would be another
// one there. Functions of expressions run under it as they do for the user.
void TableSwap::build_indexes() {
  for (const Index& index : indexes_) {
    const std::string name = quote_identifier(index.temporary_name);
    if (index.constraint) {
      const std::string definition =
          only_value(session_.users("select pg_catalog.pg_get_constraintdef($1::pg_catalog.oid)", {index.oid}));
      session_.users(fmt::format("alter table {} add constraint {} {}", staging_, name, definition));
      continue;
    }
    const std::string definition =
        only_value(session_.users("select pg_catalog.pg_get_indexdef($1::pg_catalog.oid)", {index.oid}));
    if (!definition.starts_with(index.prefix))
      throw PostgresError("postgres.index_changed", fmt::format("index {} was changed while the table was loaded", index.name),
                          {.where = target_.display, .hint = "run again"});
    session_.users(fmt::format("create {}index {} on {} using {}", index.unique ? "unique " : "", name, staging_,
                               definition.substr(index.prefix.size())));
  }
}

void TableSwap::restore_owner_and_grants() {
  const auto facts = session_.ours(
      "select pg_get_userbyid(relowner), current_user, relacl is not null, obj_description(oid, 'pg_class') from pg_class where "
      "oid = "
      "$1::oid",
      {target_.oid});
  const Row& row = facts.rows.at(0);
  const std::string owner = quote_identifier(*row[0]);
  if (*row[0] != *row[1]) session_.ours(fmt::format("alter table {} owner to {}", staging_, owner));
  if (*row[2] == "t") {
    session_.ours(fmt::format("revoke all on {} from {}", staging_, owner));
    for (const Row& grant : session_.ours(kGrants, {target_.oid}).rows) {
      std::string statement = *grant[0];
      session_.ours(statement.replace(statement.find("%s"), 2, staging_));
    }
  }
  // A staging table that several connections filled has a comment of its own.
  session_.ours(fmt::format("comment on table {} is {}", staging_, row[3] ? quote_literal(*row[3]) : "null"));
}

std::string TableSwap::publish(int64_t rows) {
  signature_ = index_signature();
  build_indexes();
  session_.users("analyze " + staging_);  // the old table's statistics go with it
  const std::string staging_oid = only_value(session_.ours("select $1::regclass::oid", {staging_}));
  std::vector<std::string> oids{target_.oid, staging_oid};
  for (const Row& row : session_.ours("select indexrelid from pg_index where indrelid = $1::oid", {target_.oid}).rows)
    oids.push_back(*row[0]);
  bool took_it = false;
  publish_in_attempts(session_, target_.display, oids, [&] {
    session_.ours("lock table only " + target_.qualified + " in access exclusive mode");
    took_it = is_plain(session_, target_.oid) && index_signature() == signature_;
    if (took_it) take_the_place();
  });
  if (took_it) return staging_oid;
  fill_in_place(rows);
  return target_.oid;
}

void TableSwap::take_the_place() {
  restore_owner_and_grants();
  session_.ours("drop table " + target_.qualified);
  session_.ours(fmt::format("alter table {} rename to {}", staging_, quote_identifier(target_.table)));
  const std::string schema = quote_identifier(target_.schema) + ".";
  for (const Index& index : indexes_) {
    const std::string from = quote_identifier(index.temporary_name), to = quote_identifier(index.name);
    if (index.constraint)
      session_.ours(fmt::format("alter table {} rename constraint {} to {}", target_.qualified, from, to));
    else
      session_.ours(fmt::format("alter index {}{} rename to {}", schema, from, to));
    if (index.comment.empty()) continue;
    session_.ours(index.constraint
                      ? fmt::format("comment on constraint {} on {} is {}", to, target_.qualified, quote_literal(index.comment))
                      : fmt::format("comment on index {}{} is {}", schema, to, quote_literal(index.comment)));
  }
}

// The lock against writers lets a session make a view or a function over the table, and change its column grants.
void TableSwap::fill_in_place(int64_t rows) {
  log(LogLevel::info,
      "{}: something was made that hangs on the table while it was loaded; the table stays and takes the rows over",
      target_.display);
  const std::string columns =
      only_value(session_.ours("select coalesce(string_agg(quote_ident(attname), ', ' order by attnum), '') from pg_attribute "
                               "where attrelid = $1::oid and attnum "
                               "> 0 and not attisdropped and attgenerated = ''",
                               {target_.oid}));
  session_.users("truncate only " + target_.qualified);
  const auto moved =
      session_.users(fmt::format("insert into {} ({}) select {} from {}", target_.qualified, columns, columns, staging_));
  if (moved.affected != rows)
    throw VerificationError(
        "load.rows_differ",
        fmt::format("{} of {} rows came over from the staging table; nothing was loaded", moved.affected, rows),
        {.where = target_.display, .hint = "run again"});
  session_.ours("drop table " + staging_);
}

}  // namespace snowmelt
