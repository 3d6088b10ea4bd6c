Documentation.addTranslations({
  locale: "vi",
  plural_expr: "0",
  messages: {
    "Searching": "Đang tìm",
    "Preparing search...": "Đang chuẩn bị tìm kiếm...",
    "Search Results": "Kết quả tìm kiếm",
    "Search Page": "Trang tìm kiếm",
    ", in ": ", trong ",
    "Hide Search Matches": "Bỏ đánh dấu các từ đã tìm",
    "Your search did not match any documents. Please make sure that all words are spelled correctly and that you've selected enough categories.":
      "Không trang nào có những từ này. Bạn hãy xem lại cách viết; gõ có dấu hay không dấu đều được.",
    "Search finished, found ${resultCount} page(s) matching the search query.": "Tìm thấy ${resultCount} trang."
  }
});
