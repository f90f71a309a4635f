-- The policies in force, as of the run that began last.
CREATE TABLE IF NOT EXISTS `policy` (
    category VARBINARY(255) NOT NULL PRIMARY KEY,
    digest   VARBINARY(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
