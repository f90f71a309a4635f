-- Who may ask. `digest` is SHA-256 of the token; the token itself is kept nowhere.
CREATE TABLE IF NOT EXISTS `token` (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    token_id   VARBINARY(255) NOT NULL UNIQUE,
    principal  VARBINARY(512) NOT NULL,
    role       VARBINARY(32) NOT NULL,
    tenant     VARBINARY(255),
    digest     VARBINARY(64) NOT NULL UNIQUE,
    made_at    BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
