-- The life cycle of tenants.
CREATE TABLE IF NOT EXISTS `tenant` (
    tenant        VARBINARY(255) NOT NULL PRIMARY KEY,
    state         VARBINARY(32) NOT NULL,
    terminated_at BIGINT,
    recorded_at   BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
