-- Plans that a run made while it was under way.
CREATE TABLE IF NOT EXISTS `run_plan` (
    run_id  VARBINARY(255) NOT NULL,
    plan_id VARBINARY(255) NOT NULL,
    PRIMARY KEY (run_id, plan_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
