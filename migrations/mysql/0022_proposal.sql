-- What takes two persons.
CREATE TABLE IF NOT EXISTS `proposal` (
    number      BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    proposal_id VARBINARY(255) NOT NULL UNIQUE,
    action      LONGTEXT NOT NULL,
    proposed_by VARBINARY(512) NOT NULL,
    proposed_at BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    approved_by VARBINARY(512),
    approved_at BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
