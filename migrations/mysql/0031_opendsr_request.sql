-- What controllers sent over OpenDSR. No subject is in it: the body is kept as a keyed digest only.
CREATE TABLE IF NOT EXISTS `opendsr_request` (
    number             BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant             VARBINARY(255) NOT NULL,
    subject_request_id VARBINARY(255) NOT NULL,
    request_id         VARBINARY(64) NOT NULL,
    content            VARBINARY(64) NOT NULL,
    callbacks          LONGTEXT NOT NULL,
    received_at        BIGINT NOT NULL,
    told               VARBINARY(32) NOT NULL,
    UNIQUE INDEX opendsr_own (tenant, subject_request_id),
    INDEX opendsr_id (subject_request_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
