// Two equally likely Gaussians of one variance, `apart` from each other: what is known of them exactly, for Chapters 3 and 4.
(() => {
  const nodes = Array.from({ length: 141 }, (_, i) => (i - 70) / 10),
        bell = nodes.map(u => tinyddpm.gaussian(u) / 10);

  // The floor of the loss at step t, (4.19): the expected variance of the noise given x_t. Its two parts: within a Gaussian, by
  // (4.18), and because x_t may have come from either. The second has the mean of r (1 - r), r being the probability of the first
  // of the two given x_t; u is x_t in standard deviations.
  tinyddpm.pairFloor = ({ alphaBar, lost }, t, apart, variance) => {
    const now = alphaBar[t] * variance + lost[t], gap = Math.sqrt(alphaBar[t] / now) * apart;
    const unsure = Math.exp(-gap * gap / 8) * nodes.reduce((sum, u, i) => sum + bell[i] / Math.cosh(u * gap / 2), 0) / 4;
    return [alphaBar[t] * variance / now, lost[t] / now * gap * gap * unsure];
  };
})();
