-- How often something changed for a tenant.
CREATE TABLE IF NOT EXISTS `tenant_generation` (
    tenant     VARBINARY(255) NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
