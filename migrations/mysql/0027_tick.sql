-- The instants of schedules that somebody attends to already.
CREATE TABLE IF NOT EXISTS `tick` (
    name       VARBINARY(255) NOT NULL PRIMARY KEY,
    due_at     BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
