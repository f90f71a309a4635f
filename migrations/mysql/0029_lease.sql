-- What one process at a time holds: the run, the audit log. The fence grows with each holder.
CREATE TABLE IF NOT EXISTS `lease` (
    name     VARBINARY(64) NOT NULL PRIMARY KEY,
    executor VARBINARY(64),
    fence    BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
