//! By what images with several labels are stratified.

/// One label for each image, given all of its labels: the one that fewest images have, the lowest of equally rare ones. Rare labels are the
/// ones that a division would miss. Images without labels are a group of their own.
pub fn rarest_labels(images: &[Vec<u32>]) -> Vec<u32> {
    let labels = || images.iter().flatten().copied();
    let none = labels().max().map_or(0, |highest| highest + 1);
    let mut counts = vec![0u64; none as usize];
    labels().for_each(|label| counts[label as usize] += 1);
    let rarest = |labels: &Vec<u32>| {
        let rarest = labels
            .iter()
            .min_by_key(|label| (counts[**label as usize], **label));
        rarest.copied().unwrap_or(none)
    };
    images.iter().map(rarest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_counts_as_of_its_rarest_label() {
        let images = [vec![0, 1], vec![0], vec![0, 2], vec![1, 2], vec![], vec![2]];
        assert_eq!(rarest_labels(&images), [1, 0, 0, 1, 3, 2]);
        assert_eq!(rarest_labels(&[vec![1], vec![0], vec![1]]), [1, 0, 1]);
        assert_eq!(rarest_labels(&[vec![], vec![]]), [0, 0]);
    }
}
