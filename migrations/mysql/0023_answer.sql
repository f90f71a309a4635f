-- Answers that were given under an idempotency key, of which a keyed digest is kept.
CREATE TABLE IF NOT EXISTS `answer` (
    principal   VARBINARY(512) NOT NULL,
    idempotency VARBINARY(64) NOT NULL,
    content     VARBINARY(64) NOT NULL,
    claimed_at  BIGINT NOT NULL,
    status      BIGINT,
    body        LONGTEXT,
    PRIMARY KEY (principal, idempotency),
    INDEX answer_age (claimed_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
