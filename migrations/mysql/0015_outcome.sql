-- What came of steps.
CREATE TABLE IF NOT EXISTS `outcome` (
    number      BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run_id      VARBINARY(255) NOT NULL,
    step_id     VARBINARY(255) NOT NULL,
    request_id  VARBINARY(255),
    recorded_at BIGINT NOT NULL,
    body        LONGTEXT NOT NULL,
    UNIQUE INDEX outcome_step (run_id, step_id),
    INDEX outcome_request (request_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
