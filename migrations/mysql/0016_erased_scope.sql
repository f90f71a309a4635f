-- The memory of what was erased, for replay after a restore.
CREATE TABLE IF NOT EXISTS `erased_scope` (
    number    BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant    VARBINARY(255) NOT NULL,
    subjects  LONGTEXT,
    category  VARBINARY(255) NOT NULL,
    placement VARBINARY(255) NOT NULL,
    up_to     BIGINT,
    run_id    VARBINARY(255) NOT NULL,
    step_id   VARBINARY(255) NOT NULL,
    erased_at BIGINT NOT NULL,
    INDEX erased_scope_placement (placement, erased_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
