-- What tenants take along. With `up_to` it is a rollover.
CREATE TABLE IF NOT EXISTS `export` (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    export_id  VARBINARY(255) NOT NULL UNIQUE,
    tenant     VARBINARY(255) NOT NULL,
    categories LONGTEXT NOT NULL,
    target     LONGTEXT NOT NULL,
    after_at   BIGINT,
    up_to      BIGINT,
    state      VARBINARY(32) NOT NULL,
    asked_at   BIGINT NOT NULL,
    settled_at BIGINT,
    records    BIGINT NOT NULL,
    manifest   LONGTEXT,
    failure    LONGTEXT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
