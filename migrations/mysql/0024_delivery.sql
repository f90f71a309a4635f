-- Messages to somebody outside. `next_at` is when it is tried next; null once it is settled.
CREATE TABLE IF NOT EXISTS `delivery` (
    number       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    idempotency  VARBINARY(1024) NOT NULL UNIQUE,
    kind         VARBINARY(64) NOT NULL,
    tenant       VARBINARY(255),
    url          LONGTEXT NOT NULL,
    body         LONGTEXT NOT NULL,
    enqueued_at  BIGINT NOT NULL,
    next_at      BIGINT,
    tries        BIGINT NOT NULL,
    delivered_at BIGINT,
    given_up_at  BIGINT,
    failure      LONGTEXT,
    INDEX delivery_next (next_at),
    INDEX delivery_open (delivered_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
