-- Audit entries, contiguous from 0.
CREATE TABLE IF NOT EXISTS `entry` (
    idx  BIGINT NOT NULL PRIMARY KEY,
    body LONGTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
