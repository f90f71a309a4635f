-- Executions of plans. `fence` is that of whoever leads it, where it takes help, and `shared` (JSON) the steps it takes
-- help with.
CREATE TABLE IF NOT EXISTS `run` (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run_id     VARBINARY(255) NOT NULL UNIQUE,
    plan_id    VARBINARY(255) NOT NULL,
    at         BIGINT NOT NULL,
    status     VARBINARY(32) NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT,
    fence      BIGINT,
    shared     LONGTEXT,
    INDEX run_status (status)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
