-- What is about to be erased. `executor` is who is at it; null once nobody is.
CREATE TABLE IF NOT EXISTS `intent` (
    number    BIGINT NOT NULL PRIMARY KEY,
    run_id    VARBINARY(255) NOT NULL,
    step_id   VARBINARY(255) NOT NULL,
    placement VARBINARY(255) NOT NULL,
    begun_at  BIGINT NOT NULL,
    ended_at  BIGINT,
    counts    LONGTEXT,
    sealed    LONGBLOB,
    executor  VARBINARY(64),
    INDEX intent_open (ended_at, run_id),
    INDEX intent_step (run_id, step_id),
    INDEX intent_executor (executor)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
