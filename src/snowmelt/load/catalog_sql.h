// Pieces of statements over PostgreSQL's catalog that several of ours begin with; for LoadSession::ours() only.
#pragma once

namespace snowmelt {

// "mine": the current role and those it is a member of. pg_has_role() says yes to a superuser for every role, which is not meant.
inline constexpr const char* kMyRoles = R"(
with recursive mine(oid) as (
  select r.oid from pg_roles r where r.rolname = current_user
  union select m.roleid from pg_auth_members m join mine on m.member = mine.oid))";

// "part": the table $1 and, where it is partitioned, all that is below it. Children that inherit are tables of their own.
inline constexpr const char* kPartitions = R"(
with recursive part(oid) as (
  select $1::oid union all select i.inhrelid from pg_inherits i join part on i.inhparent = part.oid
  join pg_class p on p.oid = i.inhparent where p.relkind = 'p'))";

}  // namespace snowmelt
