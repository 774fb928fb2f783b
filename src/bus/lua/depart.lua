-- Takes a node that ends off all lists. ARGV: node, prefix. Returns 'more' or 'all'.
if unlist(ARGV[2], ARGV[1], '-') then return 'all' end
return 'more'
