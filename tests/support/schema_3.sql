-- A file that an earlier version of the service has written, with schema 3.
BEGIN TRANSACTION;
CREATE TABLE answer (
    user INTEGER NOT NULL,
    op_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (user, op_id)
) WITHOUT ROWID;
INSERT INTO "answer" VALUES(1,'"producer o"',1795962918017588379,'["FE9dmAK7Iash",2,false,{"c":[1,1],"d":[1,1]},1700000000.0,"2",""]');
INSERT INTO "answer" VALUES(1,'"user p"',1795962918017588380,'["FE9dmAK7Iash",6,false,{"g":[2,0],"c":[2,1],"d":[1,1]},1700000000.0,null,"7e3c70e5b4ef840e875557221e9831c1"]');
INSERT INTO "answer" VALUES(1,'"user q"',1795962918017588381,'["FE9dmAK7Iash",7,false,{"g":[2,0],"d":[1,1]},1700000000.0,null,"1f0ec08b1871351f143480f6c5c97abf"]');
CREATE TABLE change (
    user INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (user, slot)
) WITHOUT ROWID;
INSERT INTO "change" VALUES(1,1,'["FE9dmAK7Iash",1,false,{"c":[1,1]},"notify","producer",1700000000.0,null,[["add","1","c",1]]]');
INSERT INTO "change" VALUES(1,2,'["FE9dmAK7Iash",2,false,{"c":[1,1],"d":[1,1]},"notify","producer",1700000000.0,null,[["add","2","d",2]]]');
INSERT INTO "change" VALUES(1,3,'["FE9dmAK7Iash",3,false,{"c":[1,1],"d":[1,1]},"notify","producer",1700000000.0,null,[["remove",{"2":"d"},"replaced"],["add","3","d",3]]]');
INSERT INTO "change" VALUES(1,4,'["FE9dmAK7Iash",4,false,{"c":[2,2],"d":[1,1]},"notify","producer",1700000000.0,null,[["add","4","c",4]]]');
INSERT INTO "change" VALUES(1,5,'["FE9dmAK7Iash",5,false,{"g":[2,0],"c":[2,2],"d":[1,1]},"gauge","producer",1700000000.0,null,[]]');
INSERT INTO "change" VALUES(1,6,'["FE9dmAK7Iash",6,false,{"g":[2,0],"c":[2,1],"d":[1,1]},"ops","user",1700000000.0,"p",[["set",{"1":"c"},{"seen":true}]]]');
INSERT INTO "change" VALUES(1,7,'["FE9dmAK7Iash",7,false,{"g":[2,0],"d":[1,1]},"ops","user",1700000000.0,"q",[["set",{"1":"c"},{"read":true,"seen":true}],["set",{"4":"c"},{"archived":true}]]]');
INSERT INTO "change" VALUES(1,8,'["FE9dmAK7Iash",8,false,{"g":[2,0],"d":[1,1]},"update","producer",1700000000.0,null,[["update",{"3":"d"}]]]');
INSERT INTO "change" VALUES(2,1,'["z1cDPJK7k-a_",1,false,{"c":[1,1]},"notify","producer",1700000005.0,null,[["add","5","c",1]]]');
INSERT INTO "change" VALUES(3,1,'["anotherepoch",1,false,{"c":[1,1]},"notify","producer",1700000005.0,null,[["add","8","c",1]]]');
INSERT INTO "change" VALUES(4,1,'["-5h0bqGpxuvU",1,false,{"c":[1,1]},"notify","producer",1700000005.0,null,[["add","7","c",1]]]');
CREATE TABLE claim (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    until REAL NOT NULL
);
INSERT INTO "claim" VALUES(1,'"ticket"','"used"',2700000005.0);
CREATE TABLE item (
    user INTEGER NOT NULL,
    id TEXT NOT NULL,
    flags INTEGER NOT NULL,
    source TEXT,
    place TEXT,
    row TEXT NOT NULL,
    PRIMARY KEY (user, id)
) WITHOUT ROWID;
INSERT INTO "item" VALUES(1,'1',3,'"s"',NULL,'["1",1,"c","1","first","/1","/i.png",null,"s",{"n":[1,"é "]},1700000000.0,null,90,null]');
INSERT INTO "item" VALUES(1,'3',0,NULL,'"d k"','["3",3,"d","edited",null,null,null,"k",null,null,1700000000.0,null,25,1700000000.0]');
INSERT INTO "item" VALUES(1,'4',4,NULL,NULL,'["4",4,"c","4",null,null,null,null,null,null,1700000000.0,null,10,null]');
INSERT INTO "item" VALUES(2,'5',0,'"s"',NULL,'["5",1,"c","5",null,null,null,null,"s",null,1700000005.0,null,10,null]');
INSERT INTO "item" VALUES(3,'8',0,'"a\u0000b"','"c k''\n"','["8",1,"c","8",null,null,null,"k''\n","a\u0000b",null,1700000005.0,null,10,null]');
INSERT INTO "item" VALUES(4,'7',0,NULL,NULL,'["7",1,"c","7",null,null,null,null,null,null,1700000005.0,null,0,null]');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('generation','a-generation');
INSERT INTO "meta" VALUES('risked','');
INSERT INTO "meta" VALUES('secret','a-secret-of-a-test-file');
CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation TEXT NOT NULL,
    head TEXT NOT NULL
);
INSERT INTO "user" VALUES(1,'alice','a-generation','["FE9dmAK7Iash",8,false,0.0,0.0,{"g":[2,7]}]');
INSERT INTO "user" VALUES(2,'bob','a-generation','["z1cDPJK7k-a_",1,false,1700000005.0,1700000005.0,{},1699999000.0]');
INSERT INTO "user" VALUES(3,'carol','a-generation','["anotherepoch",1,false,0.0,0.0,{}]');
INSERT INTO "user" VALUES(4,'zoë','a-generation','["-5h0bqGpxuvU",1,false,0.0,0.0,{}]');
CREATE INDEX item_source ON item (source) WHERE source IS NOT NULL;
CREATE INDEX item_place ON item (place) WHERE place IS NOT NULL;
CREATE INDEX claim_until ON claim (until);
COMMIT;
PRAGMA application_id = 1383036270;
PRAGMA user_version = 3;
