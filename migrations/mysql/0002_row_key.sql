-- Keys of requests, holds and runs, each wrapped by the master key. A row is deleted when its owner is done.
CREATE TABLE IF NOT EXISTS `row_key` (
    owner   VARBINARY(255) NOT NULL PRIMARY KEY,
    wrapped VARBINARY(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
