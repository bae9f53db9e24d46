//! What a text is read as, once; and its keys, each time that it is run.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use replat_model::key::{KeyType, KeyValue};
use replat_model::map::Dimension;
use sqlparser::ast::Statement as Parsed;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::effects::{Effects, SessionChange, Verb};
use crate::keys::{Keys, Why};
use crate::lex::{Hint, Limits, check_depth, is_word, lex};
use crate::param::Param;
use crate::read::{self, Mention, Read};
use crate::tables::{Partitioned, Tables};
use crate::term::{Given, Set};

/// A text that is longer is not read. Unit: bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// How many keys are listed at most.
const KEYS_MAX: usize = 1_000;
/// What is read on the stack of whoever asks; enough for nearly all, and little enough for a build without
/// optimisation, whose parser takes 75 KiB for each level.
const USUAL: Limits = Limits { chain: 150, links: 8, nesting: 10 };
/// What is read on a stack of its own.
const MOST: Limits = Limits { chain: 1_000, links: 64, nesting: 40 };
/// That stack; unit: bytes. Only what is used of it is ever taken.
const STACK: usize = 32 * 1024 * 1024;

/// How a text is understood; made once for each text.
#[derive(Clone, Debug)]
pub struct Plan {
    statements: Vec<Statement>,
    hint: Option<Hint>,
}

/// How one statement of a text is understood.
#[derive(Clone, Debug)]
pub struct Statement {
    effects: Effects,
    needs: Needs,
    /// Whether it looks up names of tables or functions.
    looks_up: bool,
    /// Whether statements after it may be read otherwise.
    unsettles: bool,
}

/// What a statement's keys follow from.
#[derive(Clone, Debug)]
enum Needs {
    NotData,
    Reference,
    Unknown(Why),
    Rows(Box<Rows>),
}

#[derive(Clone, Debug)]
struct Rows {
    context: Arc<str>,
    dimensions: Arc<[Dimension]>,
    mentions: Vec<Mention>,
    /// For each parameter, by number less one, the type that the text gives it.
    implied: Vec<Option<KeyType>>,
}

impl Plan {
    /// Reads `sql`, one statement or several.
    ///
    /// Never fails: what is not understood has unknown keys, and effects as the first words tell them.
    pub fn of(sql: &str, tables: &Tables) -> Plan {
        let failed = |why| Plan { statements: vec![Statement::opaque(why)], hint: None };
        if sql.len() > STATEMENT_BYTES_MAX {
            return failed(Why::TooLong { bytes: sql.len() });
        }
        let plan = Plan::within(USUAL, sql, tables).unwrap_or_else(failed);
        if !plan.is_too_deep() {
            return plan;
        }
        let on_large_stack = std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let thread = builder.spawn_scoped(scope, || Plan::within(MOST, sql, tables)).ok()?;
            Some(thread.join().expect("reading a statement does not panic"))
        });
        // Without memory for another thread, what is known is that it is too deep.
        on_large_stack.map_or(plan, |plan| plan.unwrap_or_else(failed))
    }

    fn within(limits: Limits, sql: &str, tables: &Tables) -> Result<Plan, Why> {
        let lexed = lex(sql)?;
        let statements =
            lexed.statements.into_iter().map(|tokens| Statement::of(tokens, tables, limits)).collect();
        Ok(Plan { statements, hint: lexed.hint })
    }

    fn is_too_deep(&self) -> bool {
        self.statements.iter().any(|statement| matches!(statement.needs, Needs::Unknown(Why::TooDeep)))
    }

    /// The statements of the text, in order; none if it is empty.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What a comment before or after the text says.
    pub fn hint(&self) -> Option<&Hint> {
        self.hint.as_ref()
    }

    /// What the text changes in its session, in order.
    pub fn session_changes(&self) -> impl Iterator<Item = &SessionChange> {
        self.statements.iter().flat_map(|statement| &statement.effects.session)
    }

    /// Whose rows the text concerns when it is run with `params`: of all its statements together.
    pub fn keys(&self, params: &[Param<'_>]) -> Keys {
        let mut unsettled = false;
        let keys = self.statements.iter().map(|statement| {
            let unsure = unsettled && statement.looks_up;
            unsettled |= statement.unsettles;
            if unsure { Keys::Unknown(Why::Unsettled) } else { statement.keys(params) }
        });
        keys.fold(Keys::NotData, together)
    }

    /// Whether statements that follow in the session may be read otherwise than this text was: by another
    /// `search_path`, other rules for strings, another encoding. Conservative: also whatever calls a function that is
    /// not known, since it may set them.
    pub fn unsettles(&self) -> bool {
        self.statements.iter().any(|statement| statement.unsettles)
    }

    /// Whether it looks up names of tables or functions, so that it depends on what [`Plan::unsettles`] is about.
    pub fn looks_up_names(&self) -> bool {
        self.statements.iter().any(|statement| statement.looks_up)
    }

    /// About how much memory it takes; unit: bytes.
    pub(crate) fn weight(&self) -> usize {
        let hint = self.hint.as_ref().map_or(0, |_| 64);
        hint + 128 + self.statements.iter().map(Statement::weight).sum::<usize>()
    }
}

impl Statement {
    fn of(tokens: Vec<Token>, tables: &Tables, limits: Limits) -> Statement {
        let mut effects = Effects::of(&tokens);
        let mut unsettles = effects.session.iter().any(SessionChange::unsettles);
        let body = query_in(&tokens);
        let looks_up = !matches!(body, Body::None(Needs::NotData));
        let needs = match body {
            Body::None(needs) => {
                unsettles |= matches!(&needs, Needs::Unknown(why) if !matches!(why, Why::Whole(_)));
                needs
            }
            Body::Query(start, end) => {
                // Its verb is its own only if it is the whole.
                let is_whole = start == 0 && end == tokens.len();
                let (read, implied) = read_tokens(tokens, start..end, tables, limits);
                unsettles |= read.as_ref().map_or(true, |read| read.may_set);
                let only_reads = read.as_ref().is_ok_and(Read::only_reads) && effects.session.is_empty();
                if is_whole && only_reads && effects.verb == Verb::MayWrite {
                    effects.verb = Verb::Read;
                }
                read.and_then(|read| Needs::of(read, implied, tables)).unwrap_or_else(Needs::Unknown)
            }
        };
        Statement { effects, needs, looks_up, unsettles }
    }

    /// One of which nothing is known, for this reason.
    fn opaque(why: Why) -> Statement {
        Statement { effects: Effects::opaque(), needs: Needs::Unknown(why), looks_up: true, unsettles: true }
    }

    /// What it does besides.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Whose rows it concerns when it is run with `params`.
    pub fn keys(&self, params: &[Param<'_>]) -> Keys {
        match &self.needs {
            Needs::NotData => Keys::NotData,
            Needs::Reference => Keys::Reference,
            Needs::Unknown(why) => Keys::Unknown(why.clone()),
            Needs::Rows(rows) => rows.keys(params).unwrap_or_else(Keys::Unknown),
        }
    }

    fn weight(&self) -> usize {
        let rows = match &self.needs {
            Needs::Rows(rows) => {
                let sets = rows.mentions.iter().flat_map(|mention| mention.sets.iter().flatten());
                rows.mentions.len() * 128
                    + rows.implied.len() * 2
                    + sets.map(|set| 32 + set.len() * 64).sum::<usize>()
            }
            _ => 0,
        };
        std::mem::size_of::<Statement>() + rows + self.effects.session.len() * 64
    }
}

/// Where in a statement the part is that names rows.
enum Body {
    /// There is none, or none that is read.
    None(Needs),
    /// These tokens, from and to.
    Query(usize, usize),
}

fn query_in(tokens: &[Token]) -> Body {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let whole = |what| Body::None(Needs::Unknown(Why::Whole(what)));
    let end = tokens.len();
    match word(0).as_str() {
        "SELECT" | "VALUES" | "TABLE" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" => {
            Body::Query(0, end)
        }
        "" if matches!(tokens.first(), Some(Token::LParen)) => Body::Query(0, end),
        "EXPLAIN" => Body::Query(after_explain(tokens), end),
        "DECLARE" => match tokens.iter().position(|token| is_word(token, "FOR")) {
            Some(at) => Body::Query(at + 1, end),
            None => Body::None(Needs::Unknown(Why::NotParsed)),
        },
        "COPY" if matches!(tokens.get(1), Some(Token::LParen)) => match closing(tokens, 1) {
            Some(close) => Body::Query(2, close),
            None => Body::None(Needs::Unknown(Why::NotParsed)),
        },
        "COPY" => whole("COPY"),
        "EXECUTE" => Body::None(Needs::Unknown(match tokens.get(1) {
            Some(Token::Word(name)) => {
                Why::Execute(read::fold(&name.value, name.quote_style).unwrap_or_default())
            }
            _ => Why::NotParsed,
        })),
        "CALL" | "DO" => Body::None(Needs::Unknown(Why::Function(word(0).to_ascii_lowercase().into()))),
        "CREATE" | "ALTER" | "DROP" | "COMMENT" | "GRANT" | "REVOKE" | "REINDEX" | "REFRESH" | "SECURITY"
        | "IMPORT" | "REASSIGN" => whole("DDL"),
        "TRUNCATE" => whole("TRUNCATE"),
        "LOCK" => whole("LOCK"),
        "VACUUM" | "ANALYZE" | "ANALYSE" | "CLUSTER" | "CHECKPOINT" => whole("upkeep"),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" | "PREPARE"
        | "DEALLOCATE" | "SET" | "RESET" | "SHOW" | "DISCARD" | "LISTEN" | "UNLISTEN" | "NOTIFY"
        | "FETCH" | "MOVE" | "CLOSE" | "LOAD" => Body::None(Needs::NotData),
        _ => Body::None(Needs::Unknown(Why::NotParsed)),
    }
}

/// Where the statement begins that is explained.
fn after_explain(tokens: &[Token]) -> usize {
    if matches!(tokens.get(1), Some(Token::LParen)) {
        // `EXPLAIN (SELECT 1)` explains a query in brackets; options are another thing.
        let options = tokens.get(2).is_some_and(|token| {
            !["SELECT", "VALUES", "WITH", "TABLE"].iter().any(|word| is_word(token, word))
                && !matches!(token, Token::LParen)
        });
        return if options { closing(tokens, 1).map_or(tokens.len(), |close| close + 1) } else { 1 };
    }
    let is_option =
        |token: &&Token| is_word(token, "ANALYZE") || is_word(token, "ANALYSE") || is_word(token, "VERBOSE");
    1 + tokens.iter().skip(1).take_while(is_option).count()
}

/// The bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Some(at),
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// How often each parameter occurs, by number less one.
type Occurrences = Vec<u32>;

fn read_tokens(
    mut tokens: Vec<Token>,
    part: Range<usize>,
    tables: &Tables,
    limits: Limits,
) -> (Result<Read, Why>, Occurrences) {
    tokens.truncate(part.end);
    tokens.drain(..part.start.min(part.end));
    let mut occurrences = Occurrences::new();
    for token in &tokens {
        let Token::Placeholder(name) = token else { continue };
        // The protocol counts parameters in 16 bits.
        let number: Option<u16> = name.strip_prefix('$').and_then(|digits| digits.parse().ok());
        let Some(place) = number.and_then(|number| usize::from(number).checked_sub(1)) else {
            return (Err(Why::NotParsed), occurrences);
        };
        if occurrences.len() <= place {
            occurrences.resize(place + 1, 0);
        }
        occurrences[place] += 1;
    }
    let parsed = check_depth(&tokens, limits).and_then(|()| parse(tokens, limits));
    (parsed.and_then(|parsed| read::read(&parsed, tables)), occurrences)
}

fn parse(tokens: Vec<Token>, limits: Limits) -> Result<Parsed, Why> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_recursion_limit(limits.nesting).with_tokens(tokens);
    let statement = parser.parse_statement().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => Why::TooDeep,
        _ => Why::NotParsed,
    })?;
    match parser.peek_token_ref().token {
        Token::EOF => Ok(statement),
        _ => Err(Why::NotParsed),
    }
}

impl Needs {
    fn of(read: Read, occurrences: Occurrences, tables: &Tables) -> Result<Needs, Why> {
        let Some(first) = read.mentions.first() else {
            return match (read.names_reference, read.function) {
                (true, _) => Ok(Needs::Reference),
                (false, Some(function)) => Err(Why::Function(function)),
                (false, None) => Ok(Needs::NotData),
            };
        };
        let context = first.table.context;
        if read.mentions.iter().any(|mention| mention.table.context != context) {
            return Err(Why::SeveralContexts);
        }
        if read.changes_reference {
            return Err(Why::Whole("a change of a table that is not partitioned"));
        }
        let unrestricted = read.mentions.iter().find(|mention| mention.sets.iter().all(Vec::is_empty));
        if let Some(mention) = unrestricted {
            return Err(Why::NoKey(mention.table.name.to_string().into()));
        }
        let implied = occurrences.iter().enumerate().map(|(place, &count)| {
            let uses = read.uses.get(&place)?;
            let first = uses.first().copied().flatten()?;
            let all_alike = uses.iter().all(|of| *of == Some(first));
            (all_alike && u32::try_from(uses.len()) == Ok(count)).then_some(first)
        });
        let implied = implied.collect();
        let context = tables.context(context);
        Ok(Needs::Rows(Box::new(Rows {
            context: context.name.clone(),
            dimensions: context.dimensions.clone(),
            mentions: read.mentions,
            implied,
        })))
    }
}

/// For each dimension the values that it may have.
type Restriction = Vec<Option<BTreeSet<KeyValue>>>;

impl Rows {
    fn keys(&self, params: &[Param<'_>]) -> Result<Keys, Why> {
        let given = Given { params, implied: &self.implied };
        let mut keys = BTreeSet::new();
        let mut values: Option<Restriction> = None;
        let mut exact = true;
        for mention in &self.mentions {
            let restriction = self.restriction(mention, &given)?;
            exact &= restriction.iter().all(Option::is_some);
            if exact {
                add_keys(&restriction, &mut keys)?;
            }
            values = Some(match values {
                None => restriction,
                Some(sofar) => either(sofar, restriction),
            });
        }
        let context = self.context.clone();
        if exact {
            return Ok(Keys::Exact { context, keys: keys.into_iter().collect() });
        }
        let values = values.unwrap_or_default();
        if values.iter().all(Option::is_none) {
            let first = self.mentions.first().map(|mention| mention.table.name.to_string());
            return Err(Why::NoKey(first.unwrap_or_default().into()));
        }
        let values = values.into_iter().map(|set| set.map(|set| set.into_iter().collect())).collect();
        Ok(Keys::Partial { context, values })
    }

    fn restriction(&self, mention: &Mention, given: &Given<'_>) -> Result<Restriction, Why> {
        let places = self.dimensions.iter().zip(&mention.table.columns).zip(&mention.sets);
        places
            .map(|((dimension, column), sets)| {
                common(sets, dimension.key_type, column, given, mention.inserted)
            })
            .collect()
    }
}

/// The values that all sets have; `None` if there is no set.
///
/// Sets that have nothing in common let no row pass, but the statement has to go somewhere: to where the first says.
fn common(
    sets: &[Set],
    key_type: KeyType,
    column: &str,
    given: &Given<'_>,
    inserted: bool,
) -> Result<Option<BTreeSet<KeyValue>>, Why> {
    let mut values: Option<BTreeSet<KeyValue>> = None;
    for set in sets {
        let mut these = Vec::new();
        for term in set.iter() {
            let before = these.len();
            term.add_values(key_type, column, given, &mut these)?;
            if inserted && these.len() == before {
                return Err(Why::Null(column.into()));
            }
        }
        let these: BTreeSet<KeyValue> = these.into_iter().collect();
        values = Some(match values {
            Some(sofar) if sofar.is_disjoint(&these) => {
                if sofar.is_empty() {
                    these
                } else {
                    sofar
                }
            }
            Some(sofar) => sofar.intersection(&these).cloned().collect(),
            None => these,
        });
    }
    match values {
        Some(values) if values.is_empty() => Err(Why::Null(column.into())),
        Some(values) if values.len() > KEYS_MAX => Err(Why::TooManyKeys),
        values => Ok(values),
    }
}

/// Adds each combination of the values.
fn add_keys(restriction: &Restriction, keys: &mut BTreeSet<Vec<KeyValue>>) -> Result<(), Why> {
    let mut these: Vec<Vec<KeyValue>> = vec![Vec::new()];
    for set in restriction.iter().flatten() {
        if these.len().saturating_mul(set.len()) > KEYS_MAX {
            return Err(Why::TooManyKeys);
        }
        let longer = these.iter().flat_map(|key| {
            set.iter().map(move |value| key.iter().chain([value]).cloned().collect::<Vec<_>>())
        });
        these = longer.collect();
    }
    keys.extend(these);
    if keys.len() > KEYS_MAX { Err(Why::TooManyKeys) } else { Ok(()) }
}

fn either(a: Restriction, b: Restriction) -> Restriction {
    let both = |a: Option<BTreeSet<_>>, b: Option<BTreeSet<_>>| Some(a?.into_iter().chain(b?).collect());
    a.into_iter().zip(b).map(|(a, b)| both(a, b)).collect()
}

/// Of two statements that are run together.
fn together(a: Keys, b: Keys) -> Keys {
    match (a, b) {
        (Keys::Unknown(why), _) | (_, Keys::Unknown(why)) => Keys::Unknown(why),
        (Keys::NotData, other) | (other, Keys::NotData) => other,
        (Keys::Reference, other) | (other, Keys::Reference) => other,
        (Keys::Exact { context, keys: a }, Keys::Exact { context: other, keys: b }) if context == other => {
            let keys: BTreeSet<_> = a.into_iter().chain(b).collect();
            if keys.len() > KEYS_MAX {
                return Keys::Unknown(Why::TooManyKeys);
            }
            Keys::Exact { context, keys: keys.into_iter().collect() }
        }
        (a, b) => {
            let ((context, a), (other, b)) = match (by_dimension(a), by_dimension(b)) {
                (Some(a), Some(b)) => (a, b),
                _ => return Keys::NotData,
            };
            if context != other {
                return Keys::Unknown(Why::SeveralContexts);
            }
            let values = either(a, b);
            if values.iter().all(Option::is_none) {
                return Keys::Unknown(Why::Unusual("statements with keys of different dimensions"));
            }
            let values = values.into_iter().map(|set| set.map(|set| set.into_iter().collect())).collect();
            Keys::Partial { context, values }
        }
    }
}

fn by_dimension(keys: Keys) -> Option<(Arc<str>, Restriction)> {
    match keys {
        Keys::Exact { context, keys } => {
            let width = keys.first().map_or(0, Vec::len);
            let column = |at: usize| keys.iter().map(|key| key[at].clone()).collect();
            Some((context, (0..width).map(|at| Some(column(at))).collect()))
        }
        Keys::Partial { context, values } => {
            let sets = values.into_iter().map(|values| values.map(|values| values.into_iter().collect()));
            Some((context, sets.collect()))
        }
        Keys::Reference | Keys::Unknown(_) | Keys::NotData => None,
    }
}

impl std::fmt::Display for Partitioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}
