//! The difference of two texts, line by line.

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// What changes between `before` and `after`, as `diff -u` writes it. Empty if nothing does.
pub fn difference(name: &str, before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let lines = compared(&old, &new);
    let mut text = String::new();
    let near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(lines.len()));
        lines[from..to].iter().any(|(mark, _)| *mark != ' ')
    };
    let (mut old_at, mut new_at) = (1, 1);
    let mut at = 0;
    while at < lines.len() {
        if !near(at) {
            (old_at, new_at, at) = (old_at + 1, new_at + 1, at + 1);
            continue;
        }
        let end = (at..lines.len()).find(|n| !near(*n)).unwrap_or(lines.len());
        let hunk = &lines[at..end];
        let of_old = hunk.iter().filter(|(mark, _)| *mark != '+').count();
        let of_new = hunk.iter().filter(|(mark, _)| *mark != '-').count();
        if text.is_empty() {
            text = format!("--- {name}\n+++ {name}\n");
        }
        text += &format!("@@ -{old_at},{of_old} +{new_at},{of_new} @@\n");
        hunk.iter().for_each(|(mark, line)| text += &format!("{mark}{line}\n"));
        (old_at, new_at, at) = (old_at + of_old, new_at + of_new, end);
    }
    text
}

/// The lines of both: ` ` in both, `-` only before, `+` only after; by the longest common subsequence.
fn compared<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (head, old, new) = (&old[..same], &old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, foot) = old.split_at(old.len() - tail);
    let new = &new[..new.len() - tail];
    // The longest common subsequence of what is left from each pair of places on.
    let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            longest[a][b] = match old[a] == new[b] {
                true => longest[a + 1][b + 1] + 1,
                false => longest[a + 1][b].max(longest[a][b + 1]),
            };
        }
    }
    let mut lines: Vec<(char, &str)> = head.iter().map(|line| (' ', *line)).collect();
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            lines.push((' ', old[a]));
            (a, b) = (a + 1, b + 1);
        } else if a < old.len() && (b == new.len() || longest[a + 1][b] >= longest[a][b + 1]) {
            lines.push(('-', old[a]));
            a += 1;
        } else {
            lines.push(('+', new[b]));
            b += 1;
        }
    }
    lines.extend(foot.iter().map(|line| (' ', *line)));
    lines
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        assert_eq!(difference("f", "a\nb\n", "a\nb\n"), "");
        assert_eq!(difference("f", "a\n", "a\nb\n"), "--- f\n+++ f\n@@ -1,1 +1,2 @@\n a\n+b\n");
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let want = "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(difference("f", before, after), want);
    }
}
