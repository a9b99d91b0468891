-- Devices of users of services that want what encryption needs. news is the position
-- in the user log of the newest thing that the service was not told of the device, 0
-- if there is none; sent that of the last message for it that went into a transaction.
CREATE TABLE device (
  service BIGINT NOT NULL,
  member  {text} NOT NULL,
  device  {text} NOT NULL,
  news    BIGINT NOT NULL,
  sent    BIGINT NOT NULL,
  PRIMARY KEY (service, member, device)
) {clustered} {strict};
CREATE INDEX device_news ON device (service, news) WHERE news > 0;

-- Users whose device lists have changed, and when in the user log.
CREATE TABLE device_list (
  service BIGINT NOT NULL,
  member  {text} NOT NULL,
  pos     BIGINT NOT NULL,
  PRIMARY KEY (service, member)
) {clustered} {strict};

CREATE INDEX joined_member ON joined (member);
