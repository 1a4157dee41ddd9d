#include "snowmelt/error.h"

#include <gtest/gtest.h>

namespace snowmelt {
namespace {

TEST(Error, TextIsCodePlaceMessageAndRemedy) {
  ValueError error("copy.integer_out_of_range", "300 does not fit smallint",
                   {.where = "public.t.n, row 7", .hint = "make the column integer"});
  error.add_where("part-0.parquet");
  EXPECT_STREQ(error.what(),
               "copy.integer_out_of_range\n  part-0.parquet, public.t.n, row 7: 300 does not fit smallint\n"
               "  hint: make the column integer");
  EXPECT_EQ(error.exit_code(), 7);
}

TEST(Error, ThrowErrorThrowsTheClassOfItsKind) {
  EXPECT_THROW(throw_error(ErrorKind::query, "a", "b"), QueryError);
  EXPECT_THROW(throw_error(ErrorKind::commit_in_doubt, "a", "b"), CommitInDoubt);
  EXPECT_THROW(throw_error(ErrorKind::interrupted, "a", "b"), Interrupted);
  EXPECT_EQ(to_string(ErrorKind::verification), "verification");
}

}  // namespace
}  // namespace snowmelt
