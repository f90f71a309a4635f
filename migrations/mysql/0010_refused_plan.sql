-- Refused steps that wait for approval.
CREATE TABLE IF NOT EXISTS `refused_plan` (
    plan_id     VARBINARY(255) NOT NULL PRIMARY KEY,
    body        LONGTEXT NOT NULL,
    steps       LONGTEXT NOT NULL,
    refused_at  BIGINT NOT NULL,
    approved_at BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
