-- The emergency stop.
CREATE TABLE IF NOT EXISTS `stop` (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stopped_at BIGINT NOT NULL,
    reason     LONGTEXT NOT NULL,
    lifted_at  BIGINT,
    INDEX stop_on (lifted_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
