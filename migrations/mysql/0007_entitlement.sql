-- Longer storage.
CREATE TABLE IF NOT EXISTS `entitlement` (
    number         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    entitlement_id VARBINARY(255) NOT NULL UNIQUE,
    name           VARBINARY(255) NOT NULL,
    tenant         VARBINARY(255) NOT NULL,
    categories     LONGTEXT NOT NULL,
    granted_at     BIGINT NOT NULL,
    until          BIGINT,
    ended_at       BIGINT,
    INDEX entitlement_active (ended_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
