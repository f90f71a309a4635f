-- The head of the audit log that was last about to be signed.
CREATE TABLE IF NOT EXISTS `head` (
    one  TINYINT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    root VARBINARY(64) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
