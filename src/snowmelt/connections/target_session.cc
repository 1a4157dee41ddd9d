#include "snowmelt/connections/target_session.h"

#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

class ManagedTarget final : public TargetSession {
 public:
  explicit ManagedTarget(std::shared_ptr<ConnectionManager> manager)
      : manager_(std::move(manager)), postgres_(std::dynamic_pointer_cast<PostgresConnectionManager>(manager_)) {
    if (postgres_ != nullptr) settings_ = postgres_->config();
  }

  std::shared_ptr<PostgresConnection> connection() override {
    auto connection = std::dynamic_pointer_cast<PostgresConnection>(manager_->get_connection());
    if (connection == nullptr) {
      throw UsageError("load.not_postgres", "the loader's connection manager gives no PostgreSQL connection",
                       {.hint = "pass a PostgresConnectionManager"});
    }
    return connection;
  }

  std::shared_ptr<PostgresConnection> another(std::chrono::milliseconds limit, const std::stop_token& stop) override {
    return postgres_ == nullptr ? nullptr : open_postgres_transaction(postgres_->config(), limit, stop);
  }
  bool has_others() const override { return postgres_ != nullptr; }
  const LoadSettings& settings() const override { return settings_; }

 private:
  const std::shared_ptr<ConnectionManager> manager_;
  const std::shared_ptr<PostgresConnectionManager> postgres_;  // the same, where it is ours
  LoadSettings settings_;
};

}  // namespace

std::shared_ptr<TargetSession> target_session(std::shared_ptr<ConnectionManager> manager) {
  return std::make_shared<ManagedTarget>(std::move(manager));
}

}  // namespace snowmelt
