-- Lawful orders to keep.
CREATE TABLE IF NOT EXISTS `hold` (
    number      BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hold_id     VARBINARY(255) NOT NULL UNIQUE,
    tenant      VARBINARY(255) NOT NULL,
    subjects    LONGTEXT NOT NULL,
    categories  LONGTEXT NOT NULL,
    authority   LONGTEXT NOT NULL,
    placed_at   BIGINT NOT NULL,
    released_at BIGINT,
    sealed      LONGBLOB,
    INDEX hold_active (released_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
