//! FROM: the tree of joins, and what holds at each place in it.
//!
//! A row of a table matters if it can be part of a joined row that passes all conditions, and on the optional side of
//! an outer join also if it keeps a row of NULLs away. What holds for such rows is called the pool of the place.

use std::collections::BTreeSet;
use std::rc::Rc;

use sqlparser::ast::{
    Expr, FunctionArg, Join, JoinConstraint, JoinOperator, Query, TableAlias, TableFactor, TableWithJoins,
};

use super::facts::{Fact, Merged, RangeId, Scope, not_null};
use super::{Around, Kind, Outputs, Range, Reader, ident, idents};
use crate::keys::Why;

/// A part of a FROM clause.
pub(super) enum Node<'q> {
    Range(RangeId),
    /// Reads what stands to its left, so it is read when that is known.
    Lateral {
        left: Vec<RangeId>,
        merged: Vec<Merged>,
        what: Lateral<'q>,
        range: RangeId,
    },
    Join(Box<JoinNode<'q>>),
}

#[derive(Clone, Copy)]
pub(super) enum Lateral<'q> {
    Query(&'q Query, Option<&'q TableAlias>),
    Arguments(&'q [FunctionArg]),
    Expressions(&'q [Expr]),
}

pub(super) struct JoinNode<'q> {
    side: Side,
    left: Tree<'q>,
    right: Tree<'q>,
    on: Vec<Fact>,
    condition: Option<&'q Expr>,
}

/// Which side's rows are kept without a match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Inner,
    Left,
    Right,
    Full,
}

/// A node, with the names that it gives to the outside.
pub(super) struct Tree<'q> {
    pub(super) node: Node<'q>,
    pub(super) ranges: Vec<RangeId>,
    pub(super) merged: Vec<Merged>,
}

impl<'q> Reader<'_> {
    /// All items of a FROM clause as one tree; `None` if there are none. `left` stands before them.
    pub(super) fn from(
        &mut self,
        items: &'q [TableWithJoins],
        before: Option<Tree<'q>>,
        around: &Around,
    ) -> Result<Option<Tree<'q>>, Why> {
        let mut tree = before;
        for item in items {
            let (ranges, merged) = tree.as_ref().map(Tree::names).unwrap_or_default();
            let next = self.joins(item, &ranges, &merged, around)?;
            tree = Some(match tree {
                Some(left) => left.beside(next),
                None => next,
            });
        }
        Ok(tree)
    }

    /// `left` and `merged` are what stands to the left in the same FROM, for LATERAL.
    fn joins(
        &mut self,
        item: &'q TableWithJoins,
        left: &[RangeId],
        merged: &[Merged],
        around: &Around,
    ) -> Result<Tree<'q>, Why> {
        let TableWithJoins { relation, joins } = item;
        let mut tree = self.factor(relation, left, merged, around)?;
        for join in joins {
            let Join { relation, global, join_operator } = join;
            if *global {
                return Err(Why::Unusual("GLOBAL JOIN"));
            }
            let (side, constraint) = side(join_operator)?;
            let left: Vec<RangeId> = left.iter().chain(&tree.ranges).copied().collect();
            let merged: Vec<Merged> = merged.iter().chain(&tree.merged).cloned().collect();
            let right = self.factor(relation, &left, &merged, around)?;
            tree = self.join(side, tree, right, constraint, around)?;
        }
        Ok(tree)
    }

    fn factor(
        &mut self,
        factor: &'q TableFactor,
        left: &[RangeId],
        merged: &[Merged],
        around: &Around,
    ) -> Result<Tree<'q>, Why> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let plain = with_hints.is_empty() && version.is_none() && partitions.is_empty();
                if !(plain && json_path.is_none() && sample.is_none() && index_hints.is_empty()) {
                    return Err(Why::Unusual("a table with a sample or a hint"));
                }
                if let Some(args) = args {
                    if args.settings.is_some() {
                        return Err(Why::Unusual("a function with settings"));
                    }
                    self.function(name)?;
                    // Without an alias, the function's name qualifies its columns.
                    let name = match alias {
                        Some(alias) => Some(ident(&alias.name)?),
                        None => idents(name)?.pop(),
                    };
                    let range = self.range(Range { name, schema: None, kind: Kind::Opaque })?;
                    let what = Lateral::Arguments(&args.args);
                    let (left, merged) = (left.to_vec(), merged.to_vec());
                    return Ok(Tree::of(Node::Lateral { left, merged, what, range }, range));
                }
                if *with_ordinality {
                    return Err(Why::Unusual("WITH ORDINALITY without a function"));
                }
                let name_given = alias.as_ref().map(|alias| ident(&alias.name)).transpose()?;
                let range = self.table(name, name_given, around)?;
                if let Some(alias) = alias.as_ref().filter(|alias| renames(alias)) {
                    self.rename(range, alias.columns.iter().map(|column| ident(&column.name)))?;
                }
                Ok(Tree::of(Node::Range(range), range))
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if sample.is_some() {
                    return Err(Why::Unusual("a table with a sample or a hint"));
                }
                let name = alias.as_ref().map(|alias| ident(&alias.name)).transpose()?;
                if *lateral {
                    let range = self.range(Range { name, schema: None, kind: Kind::Opaque })?;
                    let what = Lateral::Query(subquery, alias.as_ref());
                    let (left, merged) = (left.to_vec(), merged.to_vec());
                    return Ok(Tree::of(Node::Lateral { left, merged, what, range }, range));
                }
                let outputs = self.query(subquery, around)?;
                let range = self.range(Range { name, schema: None, kind: Kind::Derived(outputs) })?;
                if let Some(alias) = alias.as_ref().filter(|alias| renames(alias)) {
                    self.rename(range, alias.columns.iter().map(|column| ident(&column.name)))?;
                }
                Ok(Tree::of(Node::Range(range), range))
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality: _, alias } => {
                self.function(name)?;
                let name = match alias {
                    Some(alias) => Some(ident(&alias.name)?),
                    None => idents(name)?.pop(),
                };
                let range = self.range(Range { name, schema: None, kind: Kind::Opaque })?;
                let what = Lateral::Arguments(args);
                let (left, merged) = (left.to_vec(), merged.to_vec());
                Ok(Tree::of(Node::Lateral { left, merged, what, range }, range))
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality: _,
            } => {
                if *with_offset || with_offset_alias.is_some() {
                    return Err(Why::Unusual("UNNEST with an offset"));
                }
                let name = match alias {
                    Some(alias) => ident(&alias.name)?,
                    None => "unnest".into(),
                };
                let range = self.range(Range { name: Some(name), schema: None, kind: Kind::Opaque })?;
                let what = Lateral::Expressions(array_exprs);
                let (left, merged) = (left.to_vec(), merged.to_vec());
                Ok(Tree::of(Node::Lateral { left, merged, what, range }, range))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.joins(table_with_joins, left, merged, around)
            }
            _ => Err(Why::Unusual("a table of another kind")),
        }
    }

    /// The columns of `range` have other names by its alias.
    fn rename(
        &mut self,
        range: RangeId,
        names: impl ExactSizeIterator<Item = Result<Box<str>, Why>>,
    ) -> Result<(), Why> {
        let kind = match &self.ranges[range.0].kind {
            // The order of a table's columns is not known.
            Kind::Partitioned(_) => return Err(Why::Unusual("an alias that renames a table's columns")),
            Kind::Derived(outputs) => Kind::Derived(Rc::new(outputs.renamed(names)?)),
            Kind::Opaque => Kind::Opaque,
        };
        self.ranges[range.0].kind = kind;
        Ok(())
    }

    fn join(
        &mut self,
        side: Side,
        left: Tree<'q>,
        right: Tree<'q>,
        constraint: Option<&'q JoinConstraint>,
        around: &Around,
    ) -> Result<Tree<'q>, Why> {
        let ranges: Vec<RangeId> = left.ranges.iter().chain(&right.ranges).copied().collect();
        let mut merged: Vec<Merged> = left.merged.iter().chain(&right.merged).cloned().collect();
        let (on, condition) = match constraint {
            None => (Vec::new(), None),
            Some(JoinConstraint::On(condition)) => {
                let outer = around.scope.clone();
                let scope = Scope { ranges: ranges.clone(), merged: merged.clone(), outer };
                (self.facts(condition, &scope), Some(condition))
            }
            Some(JoinConstraint::Using(columns)) => {
                let mut on = Vec::new();
                for column in columns {
                    let names = idents(column)?;
                    let [name] = names.as_slice() else {
                        return Err(Why::Unusual("a qualified name in USING"));
                    };
                    let (a, b) =
                        (self.unqualified(name, &left.scope()), self.unqualified(name, &right.scope()));
                    if let (Some(a), Some(b)) = (a, b) {
                        on.push(Fact::Same(a, b));
                    }
                    let var = match side {
                        Side::Inner => a.or(b),
                        Side::Left => a,
                        Side::Right => b,
                        Side::Full => None,
                    };
                    merged.retain(|merged| merged.name != *name);
                    merged.push(Merged { name: name.clone(), var });
                }
                (on, None)
            }
            Some(JoinConstraint::Natural) => return Err(Why::Unusual("NATURAL JOIN")),
            Some(JoinConstraint::None) => return Err(Why::Unusual("a join without a condition")),
        };
        let node = Node::Join(Box::new(JoinNode { side, left, right, on, condition }));
        Ok(Tree { node, ranges, merged })
    }

    /// Takes note of the tables in `tree`, and reads what stands in it, given what holds there.
    pub(super) fn visit(&mut self, tree: &Tree<'q>, pool: &[Fact], around: &Around) -> Result<(), Why> {
        match &tree.node {
            Node::Range(range) => {
                self.mention(*range, pool);
                Ok(())
            }
            Node::Lateral { left, merged, what, range } => {
                let scope =
                    Scope { ranges: left.clone(), merged: merged.clone(), outer: around.scope.clone() };
                self.lateral(*what, *range, &around.within(scope, pool.to_vec()))
            }
            Node::Join(join) => self.visit_join(join, &tree.scope_within(around), pool, around),
        }
    }

    fn visit_join(
        &mut self,
        join: &JoinNode<'q>,
        scope: &Rc<Scope>,
        pool: &[Fact],
        around: &Around,
    ) -> Result<(), Why> {
        let mut kept = pool.to_vec();
        let side = join.side_given(&not_null(pool));
        if side != Side::Full {
            join.left.add_facts(&mut kept, side == Side::Right);
            join.right.add_facts(&mut kept, side == Side::Left);
        }
        let (left, right) = match side {
            Side::Inner => {
                let mut all = pool.to_vec();
                all.extend(join.on.iter().cloned());
                join.left.add_all_facts(&mut all);
                join.right.add_all_facts(&mut all);
                kept.clone_from(&all);
                (all.clone(), all)
            }
            Side::Left => (pool.to_vec(), join.optional(pool, &join.left)),
            Side::Right => (join.optional(pool, &join.right), pool.to_vec()),
            Side::Full => (pool.to_vec(), pool.to_vec()),
        };
        self.visit(&join.left, &left, around)?;
        self.visit(&join.right, &right, around)?;
        if let Some(condition) = join.condition {
            let around =
                Around { ctes: around.ctes.clone(), scope: Some(scope.clone()), pool: Rc::new(kept) };
            self.expression(condition, &around)?;
        }
        Ok(())
    }

    fn lateral(&mut self, what: Lateral<'q>, range: RangeId, around: &Around) -> Result<(), Why> {
        match what {
            Lateral::Query(query, alias) => {
                let outputs = self.query(query, around)?;
                // No name in the same FROM is looked up any more, but those of the select list are.
                if !alias.is_some_and(renames) {
                    self.ranges[range.0].kind = Kind::Derived(outputs);
                }
                Ok(())
            }
            Lateral::Arguments(arguments) => {
                arguments.iter().try_for_each(|argument| self.argument(argument, around))
            }
            Lateral::Expressions(expressions) => {
                expressions.iter().try_for_each(|expression| self.expression(expression, around))
            }
        }
    }
}

impl<'q> Tree<'q> {
    pub(super) fn of(node: Node<'q>, range: RangeId) -> Tree<'q> {
        Tree { node, ranges: vec![range], merged: Vec::new() }
    }

    fn names(&self) -> (Vec<RangeId>, Vec<Merged>) {
        (self.ranges.clone(), self.merged.clone())
    }

    fn beside(self, right: Tree<'q>) -> Tree<'q> {
        let ranges = self.ranges.iter().chain(&right.ranges).copied().collect();
        let merged = self.merged.iter().chain(&right.merged).cloned().collect();
        let join = JoinNode { side: Side::Inner, left: self, right, on: Vec::new(), condition: None };
        Tree { node: Node::Join(Box::new(join)), ranges, merged }
    }

    fn scope(&self) -> Scope {
        Scope { ranges: self.ranges.clone(), merged: self.merged.clone(), outer: None }
    }

    pub(super) fn scope_within(&self, around: &Around) -> Rc<Scope> {
        let outer = around.scope.clone();
        Rc::new(Scope { ranges: self.ranges.clone(), merged: self.merged.clone(), outer })
    }

    /// Adds what holds in each row of this tree that `facts` let pass, to `facts`.
    pub(super) fn add_all_facts(&self, facts: &mut Vec<Fact>) {
        let given = facts.len();
        loop {
            let known = not_null(facts);
            facts.truncate(given);
            self.collect(&known, facts);
            // More facts may show that more is not NULL, so that more conditions hold.
            if not_null(facts).len() <= known.len() {
                return;
            }
        }
    }

    /// The same, for a side that may be missing as a whole.
    fn add_facts(&self, facts: &mut Vec<Fact>, may_be_missing: bool) {
        if !may_be_missing {
            self.add_all_facts(facts);
        }
    }

    fn collect(&self, known: &BTreeSet<RangeId>, facts: &mut Vec<Fact>) {
        let Node::Join(join) = &self.node else { return };
        let side = join.side_given(known);
        if side == Side::Inner {
            facts.extend(join.on.iter().cloned());
        }
        if matches!(side, Side::Inner | Side::Left) {
            join.left.collect(known, facts);
        }
        if matches!(side, Side::Inner | Side::Right) {
            join.right.collect(known, facts);
        }
    }

    fn has_any(&self, ranges: &BTreeSet<RangeId>) -> bool {
        self.ranges.iter().any(|range| ranges.contains(range))
    }
}

impl JoinNode<'_> {
    /// The join that it amounts to, if no row passes in which a range of `known` is filled up with NULLs.
    fn side_given(&self, known: &BTreeSet<RangeId>) -> Side {
        let (left, right) = (self.left.has_any(known), self.right.has_any(known));
        match self.side {
            Side::Left if right => Side::Inner,
            Side::Right if left => Side::Inner,
            Side::Full => match (left, right) {
                (true, true) => Side::Inner,
                (true, false) => Side::Left,
                (false, true) => Side::Right,
                (false, false) => Side::Full,
            },
            side => side,
        }
    }

    /// What holds for a row of the optional side that matters: it meets a row of the side that is `kept`, by the
    /// condition.
    fn optional(&self, pool: &[Fact], kept: &Tree<'_>) -> Vec<Fact> {
        let mut facts = pool.to_vec();
        facts.extend(self.on.iter().cloned());
        kept.add_all_facts(&mut facts);
        facts
    }
}

/// Whether an alias names columns too.
fn renames(alias: &TableAlias) -> bool {
    let TableAlias { explicit: _, name: _, columns, at } = alias;
    !columns.is_empty() || at.is_some()
}

fn side(operator: &JoinOperator) -> Result<(Side, Option<&JoinConstraint>), Why> {
    match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            Ok((Side::Inner, Some(constraint)))
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            Ok((Side::Left, Some(constraint)))
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            Ok((Side::Right, Some(constraint)))
        }
        JoinOperator::FullOuter(constraint) => Ok((Side::Full, Some(constraint))),
        JoinOperator::CrossJoin(JoinConstraint::None) => Ok((Side::Inner, None)),
        _ => Err(Why::Unusual("a join of another kind")),
    }
}

impl Outputs {
    /// The same columns by the names of an alias, which may name the first few only.
    pub(super) fn renamed(
        &self,
        names: impl ExactSizeIterator<Item = Result<Box<str>, Why>>,
    ) -> Result<Outputs, Why> {
        if !self.in_order || names.len() > self.columns.len() {
            return Ok(Outputs::default());
        }
        let mut columns = self.columns.clone();
        for (column, name) in columns.iter_mut().zip(names) {
            column.name = Some(name?);
        }
        let mut outputs = Outputs { columns, in_order: true };
        outputs.forget_double_names();
        Ok(outputs)
    }
}
