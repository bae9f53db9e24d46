//! The codes of what is found about partitions: one list, from which the pages and exit codes are checked.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $code:literal $title:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $code;)*

        /// All of them with their titles, in order.
        pub const CODES: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    /// No such table, no partitioned table, or one that cannot be read.
    REFUSED "RP3001" "A table cannot be looked after";
    /// The role may not do what the work needs.
    PRIVILEGE "RP3002" "A privilege is missing";
    /// Neither the policy nor the bounds say how a table goes on.
    UNCLEAR "RP3003" "How a table is cut cannot be told";
    /// Bounds that lie across each other, or across the grid, so that no partition fits between.
    OVERLAP "RP3004" "Bounds do not fit together";
    /// Nothing takes the rows of now or of the wanted time to come.
    GAP "RP3005" "A partition is missing";
    /// Rows that have a partition of their own coming, and wait in a catch-all.
    STRAYS "RP3006" "Rows lie in a catch-all partition";
    /// Rows in a catch-all that nothing moves by itself.
    STUCK "RP3007" "Rows in a catch-all partition cannot be moved out";
    /// A detach that began and did not end.
    PENDING "RP3008" "A detach was broken off";
    /// An index that some partitions lack, or have in a broken state.
    INDEX "RP3009" "An index is not complete";
    /// An owner, a privilege or a setting that siblings do not share.
    UNLIKE "RP3010" "Partitions differ from their siblings";
    /// Changes of some partitions are published, and of others not.
    PUBLICATION "RP3011" "A publication has only some of the partitions";
    /// Partitions last for less time than they should.
    RUNWAY "RP3012" "The partitions will not last";
    /// Old partitions are still attached, or retired ones still there.
    OVERDUE "RP3013" "Old partitions are overdue";
    /// An old partition stays because something forbids its end.
    KEPT "RP3014" "An old partition may not be retired";
    /// Tables that broken-off work left.
    ORPHAN "RP3015" "Tables were left over";
    /// Another tool creates and retires partitions of the table.
    MANAGED "RP3016" "Another tool manages the table";
    /// The clock of this process and that of the database tell different times.
    CLOCK "RP3017" "The clocks disagree";
    /// A standby, or a database that takes no writes.
    READ_ONLY "RP3018" "The database is read-only";
    /// New partitions would pass what may be spent.
    QUOTA "RP3019" "A quota is used up";
    /// The database is not well enough for work that can wait.
    BREAKER "RP3020" "A breaker is open";
    /// The policy says one thing and the table is another.
    CONTRADICTED "RP3021" "The policy does not fit the table";
    /// No name that is free and short enough.
    NAME "RP3022" "No name can be given";
    /// A horizon that needs more partitions than one plan makes.
    TOO_MANY "RP3023" "Too many partitions would be needed";
    /// It is not known how fast numbers are used up.
    RATE "RP3024" "It is not known how fast keys come";
    /// A hole between old bounds.
    HOLE "RP3025" "Old bounds have a hole";
    /// Work that is wanted, and switched off.
    SWITCHED_OFF "RP3026" "Work is switched off";
    /// A split, merge, conversion or other explicit request that cannot be carried out.
    REQUEST "RP3027" "A request cannot be carried out";
    /// A query that reads more partitions than it may.
    PRUNING "RP3028" "A query reads too many partitions";
    /// Partitions that live on another server.
    FOREIGN_TABLE "RP3029" "A partition is a foreign table";
    /// A unit stood in queues for locks as long as it may.
    STALL "RP3030" "The stall budget is spent";
    /// A unit did not reach its end, and was taken back.
    TAKEN_BACK "RP3031" "A unit was taken back";
    /// Another run is at work in the database.
    ANOTHER_RUN "RP3032" "Another run is at work";
    /// An index that nobody used since statistics began.
    UNUSED "RP3033" "An index is not used";
    /// After a unit the catalogue says something else than the unit was to bring about.
    NOT_AS_PLANNED "RP3034" "The catalogue is not as it was left";
    /// A key whose type cannot hold what comes after the last partition.
    TYPE_END "RP3035" "The key's type ends";
}
