// The bins of a histogram: equal parts of the axis, from the smallest value to the largest.

class Bars {
  constructor(range, scale, area, count) {
    Object.assign(this, { range, scale, area, bins: Math.min(60, Math.max(8, Math.ceil(Math.sqrt(count)))) });
    this.step = (area.right - area.left) / this.bins;
  }

  at(pixel) {
    return Math.min(this.bins - 1, Math.max(0, Math.floor((pixel - this.area.left) / this.step)));
  }

  counts(numbers) {
    const counts = new Float64Array(this.bins);
    for (const value of numbers) if (Number.isFinite(this.scale.at(value))) counts[this.at(this.scale.at(value))]++;
    return counts;
  }

  draw(c, counts, y, colour) {
    c.fillStyle = colour;
    counts.forEach((count, i) => {
      const top = y.at(count);
      if (count) c.fillRect(this.area.left + i * this.step + 0.5, top, Math.max(1, this.step - 1), this.area.bottom - top);
    });
  }

  // The values from the start of one bin to the end of another.
  between(from, to) {
    const [first, last] = [this.at(Math.min(from, to)), this.at(Math.max(from, to))];
    const edge = (bin) => this.scale.value(this.area.left + bin * this.step);
    return [first === 0 ? this.range[0] : edge(first), last === this.bins - 1 ? this.range[1] : edge(last + 1)];
  }
}
