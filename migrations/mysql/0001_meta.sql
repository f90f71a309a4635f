-- What the ledger knows of itself: ledger_id, key_check, generation, fence, turn. Who writes locks the row `turn`.
CREATE TABLE IF NOT EXISTS `meta` (
    name  VARBINARY(64) NOT NULL PRIMARY KEY,
    value VARBINARY(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
