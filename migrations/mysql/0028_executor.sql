-- Processes at work. Each is believed until `expires_at` by the clock of this server.
CREATE TABLE IF NOT EXISTS `executor` (
    executor   VARBINARY(64) NOT NULL PRIMARY KEY,
    fence      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
