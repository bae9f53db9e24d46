//! Forty tenants under writes: one that does not fit, runners that are killed, some that go back, an end for all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::tenants::{Shop, Writers, sums};

const TENANTS: i64 = 40;

/// Connections that the spec allows to each database.
const CONNECTIONS: u32 = 14;

/// The tenant with a row that green does not take.
const MISFIT: i64 = 13;

fn members(cohort: &Value) -> BTreeMap<String, Value> {
    let members = cohort["members"].as_array().expect("members").iter();
    members.map(|m| (m["partition"].as_str().expect("a name").to_owned(), m.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_tenants_go_over_and_one_that_does_not_fit_holds_nobody_up() {
    let shop = Shop::new(TENANTS, 30, CONNECTIONS, "soak = '1h'\nchunk_rows = 100").await;
    let blue = shop.blue().await;
    let writers = Writers::start(&shop, 3).await;

    // One plan for all, kept in a file; what was planned is what is run.
    let planned = shop.replat("plan deploy --each --out plan.json").await.succeeds();
    assert!(planned.out.contains("40 partitions, each by itself"), "{}", planned.out);
    // What planning sees is refused by planning. It does not see this, and no row is copied before it is committed.
    let spoilt = format!("begin; update moves set amount = -1 where tenant_id = {MISFIT} and id = 5");
    blue.batch_execute(&spoilt).await.expect("a row that does not fit");
    shop.replat("apply plan.json --detach -y").await.succeeds();
    blue.batch_execute("commit").await.expect("nobody is in its way");
    assert!(shop.folder().join(".replat/control.db").is_file());

    // Runners die, and the next one goes on.
    let mut most = BTreeMap::new();
    let mut slots = 0;
    let mut runners = Vec::new();
    let mut killed = BTreeSet::new();
    for round in 0..400_u32 {
        let ran = shop.replat("deploy get c1 --json").await.succeeds();
        let cohort: Value = serde_json::from_str(&ran.out).expect("JSON");
        for (database, n) in shop.connections(&blue).await {
            let most = most.entry(database).or_insert(0);
            *most = n.max(*most);
        }
        slots = slots.max(shop.slots(&blue).await.len());
        let phases = &cohort["phases"];
        if phases["soak"] == TENANTS - 1 {
            break;
        }
        assert!(round < 399, "{cohort:#}");
        let runner = cohort["runner"].as_str().and_then(|name| name.strip_prefix("pid ")).map(str::to_owned);
        match runner {
            // One that is dead is named until its time is up.
            Some(id) if round % 9 == 8 && round < 40 && killed.insert(id.clone()) => {
                let kill = tokio::process::Command::new("kill").args(["-KILL", &id]).status().await;
                assert!(kill.expect("kill runs").success());
                runners.push(shop.program.start(&["-q", "--progress", "none", "deploy", "watch", "c1"]));
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    assert!(most.values().all(|n| *n <= i64::from(CONNECTIONS)), "{most:?}");
    assert!((2..=3).contains(&slots), "one for each direction, and one of the misfit's own: {slots}");

    // Who does not fit is told by name.
    let waited = shop.replat("deploy wait c1 --for soak --timeout 20s").await;
    assert_eq!(waited.code, Some(30), "{} {}", waited.out, waited.err);
    assert!(waited.err.contains("RP5006") && waited.err.contains("tenant_id_13"), "{}", waited.err);
    assert!(waited.err.contains("1 of 40 members did not get through"), "{}", waited.err);

    // Once its row is mended it goes on by itself.
    let mended = format!("update moves set amount = 1 where tenant_id = {MISFIT} and id = 5");
    blue.batch_execute(&mended).await.expect("a row that fits");
    shop.replat("deploy wait c1 --for soak --timeout 80s").await.succeeds();

    // Some go back, the others stay.
    let ran = shop.replat("deploy get c1 --json").await.succeeds();
    let all = members(&serde_json::from_str(&ran.out).expect("JSON"));
    for partition in ["tenant_id_3", "tenant_id_7"] {
        let id = all[partition]["id"].as_str().expect("a name");
        shop.replat(&format!("deploy rollback {id}")).await.succeeds();
    }
    shop.replat("deploy finish c1").await.succeeds();
    shop.replat("deploy abort c1").await.succeeds();
    assert!(!runners.is_empty(), "no runner was killed");
    let acknowledged = writers.end().await;

    let (on_blue, on_green) = (sums(&blue).await, sums(&shop.green().await).await);
    for (tenant, n) in &acknowledged {
        let home = if [3, 7].contains(tenant) { &on_blue } else { &on_green };
        assert_eq!(home.get(tenant), Some(n), "tenant {tenant} lost or doubled a write");
    }
    assert_eq!(acknowledged.len() as i64, TENANTS);
    assert_eq!(on_green.len() as i64, TENANTS - 2, "what went back left nothing");

    // No trace but the guards on blue of what has moved.
    assert_eq!(shop.slots(&blue).await, Vec::<String>::new());
    for (side, fences) in [(&blue, TENANTS - 2), (&shop.green().await, 0)] {
        let publications = side.query_one("select count(*) from pg_publication", &[]).await.expect("a count");
        assert_eq!(publications.get::<_, i64>(0), 0);
        let sql = "select count(*) from pg_trigger where tgname = 'zz_replat_insert'";
        let guards = side.query_one(sql, &[]).await.expect("a count");
        assert_eq!(guards.get::<_, i64>(0), if fences > 0 { 2 } else { 0 });
        let left = side.query_one("select to_regclass('replat.cohort')::text", &[]).await.expect("a name");
        if left.get::<_, Option<String>>(0).is_some() {
            let rows = side.query_one("select count(*) from replat.fence", &[]).await.expect("a count");
            assert_eq!(rows.get::<_, i64>(0), fences);
            for table in ["cohort", "stream", "chunk", "parked", "deferred"] {
                let rows = side.query_one(&format!("select count(*) from replat.{table}"), &[]).await;
                assert_eq!(rows.expect("a count").get::<_, i64>(0), 0, "{table}");
            }
        }
    }
}
