//! The contract of registries, run against every server: a file, and PostgreSQL, etcd and Redis that the tests start
//! themselves. Consul cannot be had as a package; it is stood in for by [`consul::FakeConsul`], which is written by
//! the public documentation of its HTTP API, and says nothing about a real one.

mod consul;
mod contract;
mod following;
mod guarded;
mod hooks;
mod keyvalue;
mod meddled;
mod routers;
mod routes;
mod servers;
mod strange;
mod tables;

/// Ends a test that waits for something that does not come, long after it should have.
async fn within_reason(case: impl Future<Output = ()>) {
    let limit = std::time::Duration::from_secs(300);
    tokio::time::timeout(limit, case).await.expect("what was waited for has not come in five minutes");
}

/// Runs each case against each kind of server.
macro_rules! on_each {
    ($kinds:tt $cases:tt) => { on_each!(@kinds $kinds $cases); };
    (@kinds [$($kind:ident),*] $cases:tt) => { $( mod $kind { on_each!(@cases $kind $cases); } )* };
    (@cases $kind:ident [$($room:ident::$case:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let place = crate::servers::shared(crate::servers::Kind::$kind).await;
                crate::within_reason(crate::$room::$case(&place)).await;
            }
        )*
    };
}

#[allow(non_snake_case, reason = "named after the kinds of servers")]
mod on {
    on_each!([File, Postgres, Etcd, Consul, Redis] [
        keyvalue::commits_happen_as_expected_or_not_at_all,
        keyvalue::keys_with_a_common_beginning_are_listed_in_order,
        keyvalue::what_has_a_time_ends_and_not_before,
        keyvalue::of_many_that_change_the_same_key_none_is_lost,
        contract::versions_only_rise,
        contract::what_is_there_already_is_told_from_a_conflict,
        contract::a_reader_that_missed_versions_catches_up,
        contract::whole_routes_are_gathered_when_they_are_due,
        contract::long_routes_travel_in_pieces,
        contract::what_was_tampered_with_is_refused,
        contract::another_projects_routes_are_refused,
        contract::attendances_end_by_the_registrys_clock,
        contract::holds_are_called_and_released,
        following::two_publishers_do_no_harm,
        following::a_publication_that_was_lost_is_repeated,
        following::whoever_is_overtaken_looks_again,
        following::watchers_hear_of_each_change,
        following::an_older_registry_is_refused,
        tables::tables_only_rise,
        tables::a_late_look_is_taken_again,
    ]);
}

/// Those that stop the server, which is therefore the test's own.
macro_rules! on_own {
    ([$($kind:ident),*] $room:ident::$case:ident) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[allow(non_snake_case, reason = "named after the kinds of servers")]
            async fn $kind() {
                let (place, machine) = crate::servers::own(crate::servers::Kind::$kind).await;
                crate::within_reason(crate::$room::$case(&place, machine)).await;
            }
        )*
    };
}

mod a_follower_survives_a_restart_of {
    on_own!([Postgres, Etcd, Consul, Redis] following::a_follower_survives_a_restart);
}

mod a_router_goes_on_after_a_restart_of {
    on_own!([Postgres, Etcd, Consul, Redis] routers::a_router_goes_on_after_a_restart);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute in a debug build; `long_routes_travel_in_pieces` is the same with less"]
async fn a_million_partitions_travel_through_etcd() {
    let place = servers::shared(servers::Kind::Etcd).await;
    contract::a_million_partitions(&place).await;
}
