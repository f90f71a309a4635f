-- Stores that carry this ledger's marker, and what they said of themselves.
CREATE TABLE IF NOT EXISTS `marked_store` (
    store       VARBINARY(255) NOT NULL PRIMARY KEY,
    marked_at   BIGINT NOT NULL,
    fingerprint LONGTEXT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
