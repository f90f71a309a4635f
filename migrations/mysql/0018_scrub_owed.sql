-- Placements whose store still has to be scrubbed.
CREATE TABLE IF NOT EXISTS `scrub_owed` (
    placement VARBINARY(255) NOT NULL PRIMARY KEY
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
