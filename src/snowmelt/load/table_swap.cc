#include "snowmelt/load/table_swap.h"

#include <fmt/format.h>

#include <random>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

constexpr size_t kNameBytesMax = 63;

// What pg_dump would write for a table and CREATE TABLE … (LIKE … INCLUDING ALL), our index definitions and grants do not
// carry over. (attoptions is asked by content: since 15.20 the server keeps a version number of its own there.) Any of it, and
// the table is emptied instead. Checked against PostgreSQL 15's pg_class, pg_attribute and pg_depend.
constexpr const char* kIsPlain = R"(
select c.relkind = 'r' and c.relpersistence = 'p' and not c.relispartition and c.reloftype = 0 and c.reltablespace = 0
   and not c.relrowsecurity and not c.relforcerowsecurity and c.relreplident = 'd' and c.reloptions is null
   and (c.reltoastrelid = 0 or (select t.reloptions is null from pg_catalog.pg_class t where t.oid = c.reltoastrelid))
   and c.relam = (select m.oid from pg_catalog.pg_am m where m.amname = pg_catalog.current_setting('default_table_access_method'))
   and (c.relowner = (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)
        or (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user))
   and pg_catalog.has_schema_privilege(c.relnamespace, 'create')
   and not exists (select from pg_catalog.pg_inherits i where c.oid in (i.inhrelid, i.inhparent))
   and not exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid)
   and not exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid)
   and not exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid)
   and not exists (select from pg_catalog.pg_constraint k where (k.conrelid = c.oid or k.confrelid = c.oid) and k.contype not in ('c', 'p', 'u', 'x', 'n'))
   and not exists (select from pg_catalog.pg_publication_rel p where p.prrelid = c.oid)
   and not exists (select from pg_catalog.pg_statistic_ext s where s.stxrelid = c.oid)
   and not exists (select from pg_catalog.pg_seclabel s where s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and s.objoid = c.oid)
   and not exists (select from pg_catalog.pg_default_acl d where d.defaclobjtype = 'r')
   and not exists (select from pg_catalog.aclexplode(c.relacl) a where a.grantor <> c.relowner)
   and not exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                     and (a.attacl is not null or a.attoptions::text like '%n_distinct%' or a.attidentity <> '' or coalesce(a.attstattarget, -1) >= 0))
   and not exists (select from pg_catalog.pg_index x join pg_catalog.pg_class i on i.oid = x.indexrelid
                   where x.indrelid = c.oid and (not x.indisvalid or x.indisclustered or x.indisreplident or i.reltablespace <> 0
                     or (i.reloptions is not null and exists (select from pg_catalog.pg_constraint k where k.conindid = i.oid))
                     or exists (select from pg_catalog.pg_attribute a where a.attrelid = i.oid and coalesce(a.attstattarget, -1) >= 0)))
   and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e')
   and not exists (select from pg_catalog.pg_depend d
                   where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid
                     and ((d.deptype = 'n' and not (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                                                    and d.objid in (select k.oid from pg_catalog.pg_constraint k where k.conrelid = c.oid)))
                          or (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                              and (select s.relkind from pg_catalog.pg_class s where s.oid = d.objid) = 'S')))
   and not exists (select from pg_catalog.pg_depend d
                   where d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.refobjid = c.reltype and d.deptype = 'n')
from pg_catalog.pg_class c where c.oid = $1)";

// The definition is what follows the table's name, or the constraint's: pg_get_indexdef() writes its beginning in one way only.
constexpr const char* kIndexes = R"(
select i.relname, x.indisunique, k.oid is not null,
       case when k.oid is not null then pg_catalog.pg_get_constraintdef(k.oid)
            else pg_catalog.substr(pg_catalog.pg_get_indexdef(i.oid), pg_catalog.length(p.prefix) + 1) end,
       k.oid is not null or pg_catalog.starts_with(pg_catalog.pg_get_indexdef(i.oid), p.prefix),
       coalesce(pg_catalog.obj_description(k.oid, 'pg_constraint'), pg_catalog.obj_description(i.oid, 'pg_class'), '')
from pg_catalog.pg_index x join pg_catalog.pg_class i on i.oid = x.indexrelid
     left join pg_catalog.pg_constraint k on k.conindid = i.oid and k.conrelid = x.indrelid and k.contype in ('p', 'u', 'x')
     cross join lateral (select pg_catalog.format('CREATE %sINDEX %I ON %I.%I USING ', case when x.indisunique then 'UNIQUE ' end, i.relname, $2::text, $3::text) as prefix) p
where x.indrelid = $1 order by i.oid)";

constexpr const char* kGrants = R"(
select pg_catalog.format('grant %s on %%s to %s%s', a.privilege_type,
                         case when a.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end,
                         case when a.is_grantable then ' with grant option' else '' end)
from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a where c.oid = $1)";

std::string random_suffix() {
  std::random_device random;
  return fmt::format("_snowmelt_{:08x}", random());
}

// Cut on a character's border, so that the suffix fits.
std::string with_suffix(std::string name, const std::string& suffix) {
  if (name.size() + suffix.size() > kNameBytesMax) {
    size_t keep = kNameBytesMax - suffix.size();
    while (keep > 0 && (static_cast<unsigned char>(name[keep]) & 0xC0) == 0x80) --keep;
    name.resize(keep);
  }
  return name + suffix;
}

}  // namespace

TableSwap::TableSwap(PostgresConnection& connection, std::string oid, const std::string& schema, const std::string& table)
    : connection_(connection),
      oid_(std::move(oid)),
      schema_(schema),
      table_(table),
      suffix_(random_suffix()),
      target_(quote_identifier(schema) + "." + quote_identifier(table)),
      staging_name_(with_suffix(table, suffix_)),
      staging_(quote_identifier(schema) + "." + quote_identifier(staging_name_)) {}

std::string new_staging_name(const std::string& table) { return with_suffix(table, random_suffix()); }

std::unique_ptr<TableSwap> TableSwap::plan(PostgresConnection& connection, const std::string& oid, const std::string& schema,
                                           const std::string& table) {
  const auto plain = connection.execute(kIsPlain, {oid});
  if (plain.rows.empty() || plain.rows[0][0].value_or("f") != "t") return nullptr;
  std::unique_ptr<TableSwap> swap(new TableSwap(connection, oid, schema, table));
  for (const Row& row : connection.execute(kIndexes, {oid, schema, table}).rows) {
    if (*row[4] != "t") return nullptr;
    swap->indexes_.push_back({.name = *row[0],
                              .temporary_name = {},
                              .definition = *row[3],
                              .unique = *row[1] == "t",
                              .constraint = *row[2] == "t",
                              .comment = *row[5]});
  }
  for (size_t i = 0; i < swap->indexes_.size(); ++i) {
    swap->indexes_[i].temporary_name = with_suffix(table, fmt::format("{}_{}", swap->suffix_, i));
  }
  return swap;
}

void TableSwap::lock_target() {
  // Against writers and against a second run of ours, which would wait for us at the end and we for it.
  connection_.execute("lock table " + target_ + " in share row exclusive mode");
}

std::string TableSwap::staging_ddl() const {
  return fmt::format("create table {} (like {} including all excluding indexes)", staging_, target_);
}

void TableSwap::make_staging() {
  lock_target();
  connection_.execute(staging_ddl());
}

void TableSwap::build_indexes() {
  for (const Index& index : indexes_) {
    const std::string name = quote_identifier(index.temporary_name);
    if (index.constraint)
      connection_.execute(fmt::format("alter table {} add constraint {} {}", staging_, name, index.definition));
    else
      connection_.execute(
          fmt::format("create {}index {} on {} using {}", index.unique ? "unique " : "", name, staging_, index.definition));
  }
}

void TableSwap::restore_owner_and_grants() {
  const auto facts = connection_.execute(
      "select pg_catalog.pg_get_userbyid(relowner), current_user, relacl is not null, pg_catalog.obj_description(oid, "
      "'pg_class') "
      "from pg_catalog.pg_class where oid = $1",
      {oid_});
  const Row& row = facts.rows.at(0);
  const std::string owner = quote_identifier(*row[0]);
  if (*row[0] != *row[1]) connection_.execute(fmt::format("alter table {} owner to {}", staging_, owner));
  if (*row[2] == "t") {
    connection_.execute(fmt::format("revoke all on {} from {}", staging_, owner));
    for (const Row& grant : connection_.execute(kGrants, {oid_}).rows) {
      std::string statement = *grant[0];
      connection_.execute(statement.replace(statement.find("%s"), 2, staging_));
    }
  }
  // A staging table that several connections filled has a comment of its own.
  connection_.execute(fmt::format("comment on table {} is {}", staging_, row[3] ? quote_literal(*row[3]) : "null"));
}

void TableSwap::publish() {
  build_indexes();
  connection_.execute("analyze " + staging_);  // the old table's statistics go with it
  restore_owner_and_grants();
  connection_.execute("drop table " + target_);
  connection_.execute(fmt::format("alter table {} rename to {}", staging_, quote_identifier(table_)));
  const std::string schema = quote_identifier(schema_) + ".";
  for (const Index& index : indexes_) {
    const std::string from = quote_identifier(index.temporary_name), to = quote_identifier(index.name);
    if (index.constraint)
      connection_.execute(fmt::format("alter table {} rename constraint {} to {}", target_, from, to));
    else
      connection_.execute(fmt::format("alter index {}{} rename to {}", schema, from, to));
    if (index.comment.empty()) continue;
    connection_.execute(index.constraint
                            ? fmt::format("comment on constraint {} on {} is {}", to, target_, quote_literal(index.comment))
                            : fmt::format("comment on index {}{} is {}", schema, to, quote_literal(index.comment)));
  }
}

}  // namespace snowmelt
