-- Steps of a run that several processes share: who is at it, and what came of it once it is handed in.
CREATE TABLE IF NOT EXISTS `step_claim` (
    run_id    VARBINARY(255) NOT NULL,
    step_id   VARBINARY(255) NOT NULL,
    executor  VARBINARY(64),
    fence     BIGINT NOT NULL,
    handed_in LONGTEXT,
    PRIMARY KEY (run_id, step_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
