BEGIN TRANSACTION;
CREATE TABLE about (
	product VARCHAR(40) NOT NULL, 
	schema_version INTEGER NOT NULL, 
	created_wall VARCHAR(32) NOT NULL, 
	created_lab_s FLOAT NOT NULL, 
	PRIMARY KEY (product)
);
INSERT INTO "about" VALUES('labwright-ledger',3,'2026-11-22T12:00:00.000000Z',0.0);
CREATE TABLE account (
	lab VARCHAR(80) NOT NULL, 
	account VARCHAR(120) NOT NULL, 
	unit VARCHAR(20) NOT NULL, 
	capacity FLOAT, 
	low_water FLOAT, 
	PRIMARY KEY (lab, account)
);
CREATE TABLE campaign (
	id VARCHAR(120) NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	cause TEXT NOT NULL, 
	config TEXT NOT NULL, 
	lab TEXT NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	process_started VARCHAR(80) NOT NULL, 
	started_wall VARCHAR(32) NOT NULL, 
	started_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	lab_name VARCHAR(80) DEFAULT '' NOT NULL, 
	recipe VARCHAR(80) DEFAULT '' NOT NULL, 
	session INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "campaign" VALUES('film-20261101-090002-8b99','film','done','9 trials','{"name": "film", "recipe": "thin_film", "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}], "objectives": [{"name": "purity", "goal": "minimize"}], "budget": {"trials": 9}}','{"name": "demo", "instruments": {}}','bench',4242,'boot:1','2026-11-01T09:00:03.000000Z',100.0,'2026-11-01T09:00:45.000000Z',240.0,'demo','thin_film',1);
INSERT INTO "campaign" VALUES('film-20261101-090047-58bc','film','interrupted','SIGINT from the operator','{"name": "film", "recipe": "thin_film", "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}], "objectives": [{"name": "purity", "goal": "minimize"}], "budget": {"trials": 9}}','{"name": "demo", "instruments": {}}','bench',4242,'boot:1','2026-11-01T09:00:48.000000Z',240.0,'2026-11-01T09:01:21.000000Z',330.0,'demo','thin_film',1);
CREATE TABLE change (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	executed JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial)
);
CREATE TABLE dose (
	"key" VARCHAR(200) NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	sample VARCHAR(140) NOT NULL, 
	volumes_ml JSON NOT NULL, 
	dispensed_ml JSON, 
	state VARCHAR(16) NOT NULL, 
	cause TEXT NOT NULL, 
	announced_wall VARCHAR(32) NOT NULL, 
	announced_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	session INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY ("key"), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial), 
	FOREIGN KEY(sample) REFERENCES sample (id)
);
INSERT INTO "dose" VALUES('film-20261101-090002-8b99-s001:dose','film-20261101-090002-8b99',0,'film-20261101-090002-8b99-s001','{"cs": 0.1}','{"cs": 0.11}','done','','2026-11-01T09:00:16.000000Z',120.0,'2026-11-01T09:00:17.000000Z',150.0,1);
INSERT INTO "dose" VALUES('film-20261101-090002-8b99-s002:dose','film-20261101-090002-8b99',1,'film-20261101-090002-8b99-s002','{"cs": 0.1}','{"cs": 0.11}','done','','2026-11-01T09:00:35.000000Z',190.0,'2026-11-01T09:00:36.000000Z',220.0,1);
INSERT INTO "dose" VALUES('film-20261101-090047-58bc-s001:dose','film-20261101-090047-58bc',0,'film-20261101-090047-58bc-s001','{"cs": 0.1}','{"cs": 0.11}','done','','2026-11-01T09:01:01.000000Z',260.0,'2026-11-01T09:01:02.000000Z',290.0,1);
CREATE TABLE entry (
	id INTEGER NOT NULL, 
	lab VARCHAR(80) NOT NULL, 
	account VARCHAR(120) NOT NULL, 
	amount FLOAT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	why TEXT NOT NULL, 
	"by" VARCHAR(120) NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER, 
	dose VARCHAR(200) NOT NULL, 
	recorded_wall VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(lab, account) REFERENCES account (lab, account)
);
CREATE TABLE errand (
	user VARCHAR(120) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	method VARCHAR(80) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	items JSON NOT NULL, 
	answer JSON, 
	begun_wall VARCHAR(32) NOT NULL, 
	ended_wall VARCHAR(32), 
	PRIMARY KEY (user, name)
);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER, 
	kind VARCHAR(40) NOT NULL, 
	text TEXT NOT NULL, 
	recorded_wall VARCHAR(32) NOT NULL, 
	recorded_lab_s FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
INSERT INTO "event" VALUES(1,'film-20261101-090002-8b99',NULL,'campaign','began in process 4242 on bench','2026-11-01T09:00:04.000000Z',100.0);
INSERT INTO "event" VALUES(2,'film-20261101-090002-8b99',NULL,'campaign','done: 9 trials','2026-11-01T09:00:46.000000Z',240.0);
INSERT INTO "event" VALUES(3,'film-20261101-090047-58bc',NULL,'campaign','began in process 4242 on bench','2026-11-01T09:00:49.000000Z',240.0);
INSERT INTO "event" VALUES(4,'film-20261101-090047-58bc',NULL,'campaign','interrupted: SIGINT from the operator','2026-11-01T09:01:22.000000Z',330.0);
CREATE TABLE item (
	number INTEGER NOT NULL, 
	id VARCHAR(40) NOT NULL, 
	uid VARCHAR(80) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	parameters JSON NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	meta JSON NOT NULL, 
	user VARCHAR(120) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	cause TEXT NOT NULL, 
	place FLOAT NOT NULL, 
	estimate_s FLOAT, 
	campaign VARCHAR(120) NOT NULL, 
	runs JSON NOT NULL, 
	approved_by VARCHAR(120) NOT NULL, 
	approved_wall VARCHAR(32), 
	parent VARCHAR(40) NOT NULL, 
	decided TEXT NOT NULL, 
	decided_by VARCHAR(120) NOT NULL, 
	decided_wall VARCHAR(32), 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	process_started VARCHAR(80) NOT NULL, 
	submitted_wall VARCHAR(32) NOT NULL, 
	began_wall VARCHAR(32), 
	ended_wall VARCHAR(32), 
	PRIMARY KEY (number), 
	UNIQUE (id)
);
CREATE TABLE move (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	sample VARCHAR(140) NOT NULL, 
	origin VARCHAR(80) NOT NULL, 
	target VARCHAR(80) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	place VARCHAR(80) NOT NULL, 
	cause TEXT NOT NULL, 
	announced_wall VARCHAR(32) NOT NULL, 
	announced_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	session INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial), 
	FOREIGN KEY(sample) REFERENCES sample (id)
);
INSERT INTO "move" VALUES(1,'film-20261101-090002-8b99',0,'film-20261101-090002-8b99-s001','rack.1','synthesiser','done','synthesiser','','2026-11-01T09:00:11.000000Z',100.0,'2026-11-01T09:00:12.000000Z',120.0,1);
INSERT INTO "move" VALUES(2,'film-20261101-090002-8b99',0,'film-20261101-090002-8b99-s001','synthesiser','rack.1','done','rack.1','','2026-11-01T09:00:19.000000Z',150.0,'2026-11-01T09:00:20.000000Z',170.0,1);
INSERT INTO "move" VALUES(3,'film-20261101-090002-8b99',1,'film-20261101-090002-8b99-s002','rack.2','synthesiser','done','synthesiser','','2026-11-01T09:00:30.000000Z',170.0,'2026-11-01T09:00:31.000000Z',190.0,1);
INSERT INTO "move" VALUES(4,'film-20261101-090002-8b99',1,'film-20261101-090002-8b99-s002','synthesiser','rack.2','done','rack.2','','2026-11-01T09:00:38.000000Z',220.0,'2026-11-01T09:00:39.000000Z',240.0,1);
INSERT INTO "move" VALUES(5,'film-20261101-090047-58bc',0,'film-20261101-090047-58bc-s001','rack.1','synthesiser','done','synthesiser','','2026-11-01T09:00:56.000000Z',240.0,'2026-11-01T09:00:57.000000Z',260.0,1);
INSERT INTO "move" VALUES(6,'film-20261101-090047-58bc',0,'film-20261101-090047-58bc-s001','synthesiser','rack.1','done','rack.1','','2026-11-01T09:01:04.000000Z',290.0,'2026-11-01T09:01:05.000000Z',310.0,1);
INSERT INTO "move" VALUES(7,'film-20261101-090047-58bc',1,'film-20261101-090047-58bc-s002','rack.2','synthesiser','done','synthesiser','','2026-11-01T09:01:15.000000Z',310.0,'2026-11-01T09:01:16.000000Z',330.0,1);
CREATE TABLE notice (
	id INTEGER NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	item VARCHAR(40) NOT NULL, 
	text TEXT NOT NULL, 
	recorded_wall VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE outcome (
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	is_measured INTEGER NOT NULL, 
	mean FLOAT, 
	sem FLOAT, 
	recorded_wall VARCHAR(32) NOT NULL, 
	recorded_lab_s FLOAT NOT NULL, 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial)
);
INSERT INTO "outcome" VALUES('film-20261101-090002-8b99',0,'purity',1,0.5,0.01,'2026-11-01T09:00:23.000000Z',170.0);
INSERT INTO "outcome" VALUES('film-20261101-090002-8b99',0,'redchi',0,1.5,NULL,'2026-11-01T09:00:23.000000Z',170.0);
INSERT INTO "outcome" VALUES('film-20261101-090002-8b99',1,'purity',1,0.4,0.01,'2026-11-01T09:00:42.000000Z',240.0);
INSERT INTO "outcome" VALUES('film-20261101-090002-8b99',1,'redchi',0,1.5,NULL,'2026-11-01T09:00:42.000000Z',240.0);
INSERT INTO "outcome" VALUES('film-20261101-090047-58bc',0,'purity',1,0.5,0.01,'2026-11-01T09:01:08.000000Z',310.0);
INSERT INTO "outcome" VALUES('film-20261101-090047-58bc',0,'redchi',0,1.5,NULL,'2026-11-01T09:01:08.000000Z',310.0);
CREATE TABLE proposal (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	"values" JSON NOT NULL, 
	"by" VARCHAR(120) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	trial INTEGER, 
	proposed_wall VARCHAR(32) NOT NULL, 
	ended_wall VARCHAR(32), 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
CREATE TABLE question (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER, 
	sample VARCHAR(140) NOT NULL, 
	step VARCHAR(80) NOT NULL, 
	error TEXT NOT NULL, 
	choices JSON NOT NULL, 
	"default" VARCHAR(40) NOT NULL, 
	session INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	choice VARCHAR(40) NOT NULL, 
	answered_by VARCHAR(120) NOT NULL, 
	asked_wall VARCHAR(32) NOT NULL, 
	asked_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
CREATE TABLE refill (
	id INTEGER NOT NULL, 
	lab VARCHAR(80) NOT NULL, 
	"by" VARCHAR(120) NOT NULL, 
	n_freed INTEGER NOT NULL, 
	recorded_wall VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE request (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	"by" VARCHAR(120) NOT NULL, 
	detail TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	requested_wall VARCHAR(32) NOT NULL, 
	requested_lab_s FLOAT NOT NULL, 
	taken_wall VARCHAR(32), 
	taken_lab_s FLOAT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
CREATE TABLE run (
	uid VARCHAR(80) NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	opened_wall VARCHAR(32) NOT NULL, 
	opened_lab_s FLOAT NOT NULL, 
	sample VARCHAR(140) DEFAULT '' NOT NULL, 
	PRIMARY KEY (uid), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial)
);
INSERT INTO "run" VALUES('film-20261101-090002-8b99-run-0','film-20261101-090002-8b99',0,'2026-11-01T09:00:09.000000Z',100.0,'film-20261101-090002-8b99-s001');
INSERT INTO "run" VALUES('film-20261101-090002-8b99-run-1','film-20261101-090002-8b99',1,'2026-11-01T09:00:28.000000Z',170.0,'film-20261101-090002-8b99-s002');
INSERT INTO "run" VALUES('film-20261101-090047-58bc-run-0','film-20261101-090047-58bc',0,'2026-11-01T09:00:54.000000Z',240.0,'film-20261101-090047-58bc-s001');
INSERT INTO "run" VALUES('film-20261101-090047-58bc-run-1','film-20261101-090047-58bc',1,'2026-11-01T09:01:13.000000Z',310.0,'film-20261101-090047-58bc-s002');
CREATE TABLE sample (
	id VARCHAR(140) NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	place VARCHAR(80) NOT NULL, 
	created_wall VARCHAR(32) NOT NULL, 
	created_lab_s FLOAT NOT NULL, 
	placed_wall VARCHAR(32) NOT NULL, 
	placed_lab_s FLOAT NOT NULL, 
	slot VARCHAR(80) DEFAULT '' NOT NULL, 
	number INTEGER DEFAULT '1' NOT NULL, 
	state VARCHAR(16) DEFAULT 'current' NOT NULL, 
	cause TEXT DEFAULT '' NOT NULL, 
	executed JSON, 
	holds_slot INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial)
);
INSERT INTO "sample" VALUES('film-20261101-090002-8b99-s001','film-20261101-090002-8b99',0,'rack.1','2026-11-01T09:00:07.000000Z',100.0,'2026-11-01T09:00:21.000000Z',170.0,'rack.1',1,'current','',NULL,0);
INSERT INTO "sample" VALUES('film-20261101-090002-8b99-s002','film-20261101-090002-8b99',1,'rack.2','2026-11-01T09:00:26.000000Z',170.0,'2026-11-01T09:00:40.000000Z',240.0,'rack.2',1,'current','',NULL,0);
INSERT INTO "sample" VALUES('film-20261101-090047-58bc-s001','film-20261101-090047-58bc',0,'rack.1','2026-11-01T09:00:52.000000Z',240.0,'2026-11-01T09:01:06.000000Z',310.0,'rack.1',1,'current','',NULL,0);
INSERT INTO "sample" VALUES('film-20261101-090047-58bc-s002','film-20261101-090047-58bc',1,'synthesiser','2026-11-01T09:01:11.000000Z',310.0,'2026-11-01T09:01:17.000000Z',330.0,'rack.2',1,'current','',NULL,0);
CREATE TABLE session (
	campaign VARCHAR(120) NOT NULL, 
	number INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	began_wall VARCHAR(32) NOT NULL, 
	began_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	PRIMARY KEY (campaign, number), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
INSERT INTO "session" VALUES('film-20261101-090002-8b99',1,'bench',4242,'done','2026-11-01T09:00:03.000000Z',100.0,'2026-11-01T09:00:45.000000Z',240.0);
INSERT INTO "session" VALUES('film-20261101-090047-58bc',1,'bench',4242,'interrupted','2026-11-01T09:00:48.000000Z',240.0,'2026-11-01T09:01:21.000000Z',330.0);
CREATE TABLE step (
	id INTEGER NOT NULL, 
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	station VARCHAR(80) NOT NULL, 
	what TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	cause TEXT NOT NULL, 
	began_wall VARCHAR(32) NOT NULL, 
	began_lab_s FLOAT NOT NULL, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	sample VARCHAR(140) DEFAULT '' NOT NULL, 
	name VARCHAR(40) DEFAULT '' NOT NULL, 
	session INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(campaign, trial) REFERENCES trial (campaign, trial)
);
INSERT INTO "step" VALUES(1,'film-20261101-090002-8b99',0,'arm','rack.1 -> synthesiser','done','','2026-11-01T09:00:10.000000Z',100.0,'2026-11-01T09:00:14.000000Z',120.0,'film-20261101-090002-8b99-s001','',1);
INSERT INTO "step" VALUES(2,'film-20261101-090002-8b99',0,'synthesiser','dose 0.1 mL cs','done','','2026-11-01T09:00:15.000000Z',120.0,'2026-11-01T09:00:18.000000Z',150.0,'film-20261101-090002-8b99-s001','',1);
INSERT INTO "step" VALUES(3,'film-20261101-090002-8b99',1,'arm','rack.2 -> synthesiser','done','','2026-11-01T09:00:29.000000Z',170.0,'2026-11-01T09:00:33.000000Z',190.0,'film-20261101-090002-8b99-s002','',1);
INSERT INTO "step" VALUES(4,'film-20261101-090002-8b99',1,'synthesiser','dose 0.1 mL cs','done','','2026-11-01T09:00:34.000000Z',190.0,'2026-11-01T09:00:37.000000Z',220.0,'film-20261101-090002-8b99-s002','',1);
INSERT INTO "step" VALUES(5,'film-20261101-090047-58bc',0,'arm','rack.1 -> synthesiser','done','','2026-11-01T09:00:55.000000Z',240.0,'2026-11-01T09:00:59.000000Z',260.0,'film-20261101-090047-58bc-s001','',1);
INSERT INTO "step" VALUES(6,'film-20261101-090047-58bc',0,'synthesiser','dose 0.1 mL cs','done','','2026-11-01T09:01:00.000000Z',260.0,'2026-11-01T09:01:03.000000Z',290.0,'film-20261101-090047-58bc-s001','',1);
INSERT INTO "step" VALUES(7,'film-20261101-090047-58bc',1,'arm','rack.2 -> synthesiser','done','','2026-11-01T09:01:14.000000Z',310.0,'2026-11-01T09:01:18.000000Z',330.0,'film-20261101-090047-58bc-s002','',1);
CREATE TABLE trial (
	campaign VARCHAR(120) NOT NULL, 
	trial INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	planned JSON NOT NULL, 
	executed JSON NOT NULL, 
	origin VARCHAR(40) NOT NULL, 
	suggest_s FLOAT NOT NULL, 
	cause TEXT NOT NULL, 
	suggested_wall VARCHAR(32) NOT NULL, 
	suggested_lab_s FLOAT NOT NULL, 
	started_wall VARCHAR(32), 
	started_lab_s FLOAT, 
	ended_wall VARCHAR(32), 
	ended_lab_s FLOAT, 
	basis INTEGER, 
	PRIMARY KEY (campaign, trial), 
	FOREIGN KEY(campaign) REFERENCES campaign (id)
);
INSERT INTO "trial" VALUES('film-20261101-090002-8b99',0,'completed','{"cs": 0.1}','{"cs": 0.12}','sobol',0.01,'','2026-11-01T09:00:05.000000Z',100.0,'2026-11-01T09:00:06.000000Z',100.0,'2026-11-01T09:00:22.000000Z',170.0,NULL);
INSERT INTO "trial" VALUES('film-20261101-090002-8b99',1,'completed','{"cs": 0.30000000000000004}','{"cs": 0.32}','sobol',0.01,'','2026-11-01T09:00:24.000000Z',170.0,'2026-11-01T09:00:25.000000Z',170.0,'2026-11-01T09:00:41.000000Z',240.0,NULL);
INSERT INTO "trial" VALUES('film-20261101-090047-58bc',0,'completed','{"cs": 0.1}','{"cs": 0.12}','sobol',0.01,'','2026-11-01T09:00:50.000000Z',240.0,'2026-11-01T09:00:51.000000Z',240.0,'2026-11-01T09:01:07.000000Z',310.0,NULL);
INSERT INTO "trial" VALUES('film-20261101-090047-58bc',1,'abandoned','{"cs": 0.30000000000000004}','{}','sobol',0.01,'the campaign ended before it had ended: SIGINT from the operator','2026-11-01T09:01:09.000000Z',310.0,'2026-11-01T09:01:10.000000Z',310.0,'2026-11-01T09:01:19.000000Z',330.0,NULL);
CREATE INDEX campaign_of_lab ON campaign (lab_name, status);
CREATE INDEX ix_campaign_name ON campaign (name);
CREATE INDEX ix_refill_lab ON refill (lab);
CREATE INDEX ix_event_campaign ON event (campaign);
CREATE INDEX question_of_campaign ON question (campaign, state);
CREATE INDEX request_of_campaign ON request (campaign, state);
CREATE INDEX entry_of_dose ON entry (dose);
CREATE INDEX entry_of_account ON entry (lab, account, kind);
CREATE INDEX change_of_campaign ON change (campaign);
CREATE UNIQUE INDEX outcome_of_trial ON outcome (campaign, trial, is_measured, name);
CREATE UNIQUE INDEX samples_of_trial ON sample (campaign, trial, number);
CREATE INDEX step_of_campaign ON step (campaign);
CREATE INDEX step_of_name ON step (name, campaign);
CREATE INDEX run_of_trial ON run (campaign, trial);
CREATE INDEX ix_move_sample ON move (sample);
CREATE INDEX move_of_campaign ON move (campaign, state);
CREATE INDEX dose_of_trial ON dose (campaign, trial);
CREATE INDEX dose_in_state ON dose (state, campaign);
CREATE INDEX ix_item_uid ON item (uid);
CREATE INDEX item_in_state ON item (state, place);
CREATE INDEX item_of_user ON item (user);
CREATE INDEX proposal_of_campaign ON proposal (campaign, state);
COMMIT;
