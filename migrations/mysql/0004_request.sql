-- Erasure requests. No column holds a subject's value in plain text.
CREATE TABLE IF NOT EXISTS `request` (
    number           BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    request_id       VARBINARY(255) NOT NULL UNIQUE,
    tenant           VARBINARY(255) NOT NULL,
    known            TINYINT NOT NULL,
    state            VARBINARY(32) NOT NULL,
    received_at      BIGINT NOT NULL,
    recorded_at      BIGINT NOT NULL,
    deadline         BIGINT NOT NULL,
    completed_at     BIGINT,
    scope            VARBINARY(32) NOT NULL,
    scope_categories LONGTEXT NOT NULL,
    covers           LONGTEXT NOT NULL,
    subjects         LONGTEXT NOT NULL,
    placements       LONGTEXT NOT NULL,
    sealed           LONGBLOB,
    idempotency      VARBINARY(64) UNIQUE,
    content          VARBINARY(64) NOT NULL,
    INDEX request_open (state, received_at, request_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
