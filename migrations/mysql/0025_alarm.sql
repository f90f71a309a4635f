-- Alarms that stand or stood. `alarm` is what makes it the same one while it stands.
CREATE TABLE IF NOT EXISTS `alarm` (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    alarm      VARBINARY(1024) NOT NULL,
    kind       VARBINARY(255) NOT NULL,
    message    LONGTEXT NOT NULL,
    fields     LONGTEXT NOT NULL,
    raised_at  BIGINT NOT NULL,
    cleared_at BIGINT,
    INDEX alarm_cleared (cleared_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
